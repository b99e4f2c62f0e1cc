package customize

// kinds are all operations there are, by what they are about.
var kinds = []Kind{
	{"write", "/PATH:CONTENT", "Make CONTENT the contents of a file.", parseWrite},
	{"append-line", "/PATH:LINE", "Add a line to the end of a file.", parseAppendLine},
	{"delete", "/PATH", "Remove files and directories with all that is in them; a pattern (*, ?, [a-z]) may match none.", parseDelete},
	{"mkdir", "/PATH", "Make a directory, and those above it that are missing.", parseMkdir},
}
