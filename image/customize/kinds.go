package customize

// kinds are all operations there are, by what they are about.
var kinds = []Kind{
	// Between the host and the image.
	{"upload", "LOCAL:/PATH", "Copy a file of the host; a new file is 0:0 with the mode that it has there.", parseUpload},
	{"copy-in", "LOCAL:/DIR", "Copy a file or tree of the host into a directory, as cp -a; all of it is 0:0.", parseCopyIn},
	{"copy-out", "/PATH:LOCALDIR", "Copy a file or tree to a directory of the host, as it is at this point.", parseCopyOut},
	{"tar-in", "TARFILE:/DIR", "Unpack a tar archive of the host, with its owners and modes.", parseTarIn},
	{"extract", "ARCHIVE:/DIR", "Unpack a tar archive that may be compressed (gzip, bzip2, xz, zstd).", parseExtract},

	// Contents.
	{"write", "/PATH:CONTENT", "Make CONTENT all that is in a file.", parseWrite},
	{"append-line", "/PATH:LINE", "Add a line to the end of a file.", parseAppendLine},
	{"edit", "/PATH:EXPR", "Change the lines that match: s/OLD/NEW/, s/OLD/NEW/g or /OLD/d, where OLD is a Go regular expression.", parseEdit},
	{"truncate", "/PATH[:SIZE]", "Set the size of a file, 0 without SIZE.", parseTruncate},

	// Names.
	{"mkdir", "/PATH", "Make a directory, and those above it that are missing.", parseMkdir},
	{"touch", "/PATH", "Set the times of a file to now, or make an empty one.", parseTouch},
	{"mknod", "MODE:TYPE[:MAJOR:MINOR]:/PATH", "Make a device (b, c) or a FIFO (p).", parseMknod},
	{"move", "/OLD:/NEW", "Rename a file or directory, or move it into a directory, from one volume to another if need be.", parseMove},
	{"link", "/PATH:/NEW", "Give a file another name (a hard link).", parseLink},
	{"symlink", "TARGET:/PATH[:/PATH]", "Make symbolic links, in place of files and links that are there.", parseSymlink},
	{"delete", "/PATH", "Remove what matches a pattern (*, ?, [a-z]), directories with all that is in them.", parseDelete},

	// Attributes.
	{"chmod", "MODE:/PATH", "Change permissions: octal, or like u+x,go-w.", parseChmod},
	{"chown", "UID:GID:/PATH", "Change owner and group, by number or by the system's own names.", parseChown},
	{"chflags", "FLAGS:/PATH", "Change file flags, as chflags(1): noschg, uchg,nodump.", parseChflags},

	// Accounts.
	{"root-password", "SELECTOR", "Set root's password: password:SECRET, file:FILE (its first line), hash:HASH of crypt(3), disabled.", parseRootPassword},
	{"password", "USER:SELECTOR", "Set the password of an account, in the same ways.", parsePassword},
	{"password-lock", "USER", "Lock the password of an account, so that it can be unlocked again.", parsePasswordLock},
	{"ssh-inject", "USER:KEY", "Let the owner of an SSH key log in: the line of the public key, or file:FILE.", parseSSHInject},

	// Settings.
	{"hostname", "NAME", "Set the name of the machine.", parseHostname},
	{"timezone", "ZONE", "Set the time zone, one that the system has (Europe/Berlin).", parseTimezone},
	{"firstboot", "SCRIPT", "Run a script of the host at the first boot; several run in their order.", parseFirstboot},
	{"enable", "SERVICE", "Start a service at boot (systemd, OpenRC, rc.conf.local of OpenBSD, rc.conf of FreeBSD).", parseEnable},
	{"disable", "SERVICE", "Do not start a service at boot.", parseDisable},

	// Identity.
	{"set-duid", "DUID", "Set the identifier in OpenBSD's disklabel (16 digits, or random), and in what names it in all volumes.", parseSetDUID},
	{"set-uuid", "VOLUME:UUID", "Set the identifier of an ext4 or FAT file system or of Linux swap space (or random), and in what names it in all volumes.", parseSetUUID},
	{"set-partuuid", "VOLUME:GUID", "Set the identifier of a partition in a GPT (or random), and in what names it.", parseSetPartUUID},
	{"set-disk-id", "ID", "Set the identifier of the disk, a GUID in a GPT, 0x1234abcd in an MBR (or random), and in what names it or its partitions.", parseSetDiskID},
}
