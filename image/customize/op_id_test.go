package customize

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image"
	"github.com/resflash/resflash/integration/testimage"
	"github.com/resflash/resflash/integration/testtool"
)

// After a change of the DUID both slots, the overlay and the loader name the
// disk as its label does.
func TestSetDUID(t *testing.T) {
	var old string
	name := resflash(t, func(volume string, tree testimage.Tree) {
		if volume == "d" {
			old = regexp.MustCompile(`[0-9a-f]{16}`).FindString(string(tree["etc/fstab"].Data))
		}
		if volume == "f" {
			tree.Text("etc/fstab", 0o644, strings.ToUpper(old)+".a /mbr ffs rw 1 2", old+"00.a /other ffs rw 0 0", old+".d")
			tree.Text("upgrade_overlay/etc/fstab", 0o644, old+".e / ffs rw 1 1")
		}
	})
	const id = "0123456789abcdef"
	e := editImage(t, name, "", "set-duid "+strings.ToUpper(id))
	assert.Equal(t, id, e.disk.Tables()[1].ID)
	assert.Empty(t, e.disk.Problems())
	assert.Empty(t, e.disk.Layout(context.Background()).Problems)
	for _, volume := range []string{"d", "e"} {
		fstab := read(t, e, volume+":/etc/fstab")
		assert.NotContains(t, fstab, old)
		assert.Equal(t, 4, strings.Count(fstab, id+"."), fstab)
	}
	assert.Equal(t, strings.ToUpper(id)+".a /mbr ffs rw 1 2\n"+old+"00.a /other ffs rw 0 0\n"+id+".d\n", read(t, e, "cfg:/etc/fstab"))
	assert.Equal(t, id+".e / ffs rw 1 1\n", read(t, e, "cfg:/upgrade_overlay/etc/fstab"))

	e = editImage(t, name, "", "set-duid random")
	made := e.disk.Tables()[1].ID
	assert.NotEqual(t, id, made)
	assert.Contains(t, read(t, e, "e:/etc/fstab"), made+".e / ffs")
	for _, line := range []string{"set-duid", "set-duid 0123", "set-duid 0000000000000000", "set-duid 0123456789abcdeg"} {
		assert.ErrorContains(t, apply(t, e, line), "is no DUID")
	}
}

// A dry run says what would be another, and leaves the image alone.
func TestSetDUIDIsRecorded(t *testing.T) {
	testtool.Sequential(t)
	ctx := context.Background()
	name := resflash(t, nil)
	before, err := os.ReadFile(name)
	require.NoError(t, err)
	d, err := image.Edit(ctx, name, image.EditOptions{Atomic: true, DryRun: true})
	require.NoError(t, err)
	defer d.Close()
	e, err := New(ctx, d, Options{Record: true})
	require.NoError(t, err)
	old := d.Tables()[1].ID
	require.NoError(t, apply(t, e, "set-duid 0123456789abcdef"))
	list, err := e.Changes(ctx)
	require.NoError(t, err)
	var told []string
	for _, c := range list {
		told = append(told, strings.TrimSuffix(c.Action+" "+c.Volume+":"+c.Path+" "+c.Property+" "+c.From+" "+c.To, "   "))
	}
	assert.Equal(t, []string{"change d:/etc/fstab", "change e:/etc/fstab", "set : duid " + old + " 0123456789abcdef"}, told)
	require.NoError(t, d.Commit(ctx))
	after, err := os.ReadFile(name)
	require.NoError(t, err)
	assert.Equal(t, before, after)
}

// linuxImage makes a disk with an EFI system partition and a root that name each
// other, with the tools of Linux.
func linuxImage(t *testing.T) string {
	t.Helper()
	testtool.Need(t, "sfdisk", "mke2fs", "mkfs.fat", "mcopy", "mmd", "e2fsck", "fsck.fat", "blkid", "mkswap", "swaplabel")
	dir := t.TempDir()
	root := onHost(t, debian.with(files{
		"/etc/fstab":                         "UUID=11111111-2222-4333-8444-555555555555 / ext4 defaults 0 1\nUUID=1234-ABCD /boot/efi vfat umask=0077 0 1\n",
		"/boot/efi":                          "/",
		"/boot/grub/grub.cfg":                "search --no-floppy --fs-uuid --set=root 11111111-2222-4333-8444-555555555555\nlinux /vmlinuz root=UUID=11111111-2222-4333-8444-555555555555 ro\n",
		"/etc/initramfs-tools/conf.d/resume": "RESUME=UUID=66666666-2222-4333-8444-555555555555\n",
		"/etc/elsewhere":                     "11111111-2222-4333-8444-555555555555\n",
		"/boot/grub/linked.cfg":              "->grub.cfg",
	}))
	ext := filepath.Join(dir, "root")
	testtool.Run(t, "mke2fs", "-q", "-t", "ext4", "-O", "metadata_csum,^metadata_csum_seed", "-U", "11111111-2222-4333-8444-555555555555", "-d", root, ext, "24M")
	esp := filepath.Join(dir, "esp")
	testtool.Run(t, "mkfs.fat", "-C", "-i", "1234ABCD", esp, "8192")
	cfg := hostScript(t, "grub.cfg", "search.fs_uuid 11111111-2222-4333-8444-555555555555 root\n")
	testtool.Run(t, "mmd", "-i", esp, "::EFI", "::EFI/debian")
	testtool.Run(t, "mcopy", "-i", esp, cfg, "::EFI/debian/grub.cfg")
	name := filepath.Join(dir, "disk.img")
	require.NoError(t, os.WriteFile(name, nil, 0o644))
	require.NoError(t, os.Truncate(name, 36<<20))
	script := filepath.Join(dir, "layout")
	require.NoError(t, os.WriteFile(script, []byte("label: gpt\nstart=2048, size=16384, type=uefi\nstart=18432, size=49152, type=linux-root-x86-64\nstart=67584, size=2048, type=swap\n"), 0o644))
	testtool.Run(t, "sh", "-c", "sfdisk -q "+name+" <"+script)
	swap := filepath.Join(dir, "swap")
	require.NoError(t, os.WriteFile(swap, make([]byte, 1<<20), 0o600))
	testtool.Run(t, "mkswap", "-U", "66666666-2222-4333-8444-555555555555", swap)
	for part, at := range map[string]string{esp: "1", ext: "9", swap: "33"} {
		testtool.Run(t, "dd", "status=none", "conv=notrunc", "bs=1M", "if="+part, "of="+name, "seek="+at)
	}
	return name
}

// judged asserts what blkid and the checkers say of the two partitions.
func judged(t *testing.T, name, efi, root string) {
	t.Helper()
	for _, p := range []struct{ at, n, id, check string }{{"1", "8", efi, "fsck.fat -n"}, {"9", "24", root, "e2fsck -fn"}} {
		part := filepath.Join(t.TempDir(), "part")
		testtool.Run(t, "dd", "status=none", "bs=1M", "if="+name, "of="+part, "skip="+p.at, "count="+p.n)
		assert.Equal(t, p.id+"\n", testtool.Run(t, "blkid", "-p", "-s", "UUID", "-o", "value", part))
		testtool.Run(t, "sh", "-c", p.check+" "+part)
	}
}

func TestSetUUIDOfLinux(t *testing.T) {
	testtool.Sequential(t)
	name := linuxImage(t)
	const root = "0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0ff"
	e := editImage(t, name, "", "hostname fw1", "set-uuid root:"+root, "set-uuid efi:cafe-0001", "append-line /etc/motd:hello")
	judged(t, name, "CAFE-0001", root)
	assert.Equal(t, "UUID="+root+" / ext4 defaults 0 1\nUUID=CAFE-0001 /boot/efi vfat umask=0077 0 1\n", read(t, e, "/etc/fstab"))
	assert.Equal(t, 2, strings.Count(read(t, e, "/boot/grub/grub.cfg"), root))
	assert.Equal(t, "search.fs_uuid "+root+" root\n", read(t, e, "/boot/efi/EFI/debian/grub.cfg"))
	assert.Equal(t, "11111111-2222-4333-8444-555555555555\n", read(t, e, "/etc/elsewhere"), "nobody knows what that is")
	assert.Equal(t, "fw1\n", read(t, e, "/etc/hostname"))
	assert.Equal(t, "hello\n", read(t, e, "/etc/motd"))

	e = editImage(t, name, "", "set-uuid p3:"+strings.ToUpper(root))
	swap := filepath.Join(t.TempDir(), "swap")
	testtool.Run(t, "dd", "status=none", "bs=1M", "if="+name, "of="+swap, "skip=33", "count=1")
	assert.Contains(t, testtool.Run(t, "swaplabel", swap), "UUID:  "+root+"\n")
	assert.Equal(t, "RESUME=UUID="+root+"\n", read(t, e, "/etc/initramfs-tools/conf.d/resume"))

	e = editImage(t, name, "", "set-uuid root:random", "set-uuid efi:random", "set-uuid p3:random")
	made := regexp.MustCompile(`(?m)^UUID=([0-9a-f-]{36}) / [^\n]*\nUUID=([0-9A-F]{4}-[0-9A-F]{4}) /boot/efi`).FindStringSubmatch(read(t, e, "/etc/fstab"))
	require.Len(t, made, 3, read(t, e, "/etc/fstab"))
	assert.NotEqual(t, root, made[1])
	judged(t, name, made[2], made[1])
}

func TestSetUUIDRefuses(t *testing.T) {
	ctx := context.Background()
	name := linuxImage(t)
	d, err := image.Edit(ctx, name, image.EditOptions{Atomic: true, DryRun: true})
	require.NoError(t, err)
	defer d.Close()
	e, err := New(ctx, d, Options{})
	require.NoError(t, err)
	for line, want := range map[string]string{
		"set-uuid root":           "has no colon",
		"set-uuid root:1234":      "is no identifier",
		"set-uuid root:1234-ABCD": "is no UUID",
		"set-uuid efi:" + strings.Repeat("0", 8) + "-0000-4000-8000-000000000000": "want XXXX-XXXX",
		"set-uuid p9:random": "p9",
		"set-duid random":    "the disk has no disklabel of OpenBSD",
	} {
		assert.ErrorContains(t, apply(t, e, line), want, line)
	}
	kernel := hostScript(t, "x.efi", strings.Repeat("\x00", 1<<20-10)+"root=UUID=11111111-2222-4333-8444-555555555555 ro\x00")
	require.NoError(t, apply(t, e, "mkdir /boot/efi/EFI/Linux", "upload "+kernel+":/boot/efi/EFI/Linux/x.efi"))
	assert.ErrorContains(t, apply(t, e, "set-uuid root:random"), "p1:/EFI/Linux/x.efi, a kernel with its command line inside, names 11111111-2222-4333-8444-555555555555")
	e = editor(t, debian)
	assert.ErrorContains(t, apply(t, e, "set-uuid root:random"), "not supported: another identifier for")
	assert.ErrorContains(t, apply(t, e, "set-duid random"), "bare file system")
}

func TestReplaceWord(t *testing.T) {
	for text, want := range map[string]string{
		"AB-12":                    "CD-34",
		"ab-12":                    "cd-34",
		"x=AB-12,AB-12":            "x=CD-34,CD-34",
		"AB-12 AB-12\nAB-12":       "CD-34 CD-34\nCD-34",
		"AB-123 xAB-12 AB-12-3":    "AB-123 xAB-12 AB-12-3",
		"aB-12":                    "CD-34",
		"":                         "",
		"UUID=\"AB-12\" (AB-12)\n": "UUID=\"CD-34\" (CD-34)\n",
	} {
		re := regexp.MustCompile(`(?i)(^|[^0-9a-z-])` + regexp.QuoteMeta("AB-12") + `($|[^0-9a-z-])`)
		assert.Equal(t, want, string(replaceWord([]byte(text), re, "AB-12", "CD-34")), "%q", text)
	}
}

func TestSetPartUUIDAndDiskID(t *testing.T) {
	testtool.Sequential(t)
	testtool.Need(t, "sgdisk", "sfdisk")
	name := linuxImage(t)
	id := func(e *Editor, volume string) string {
		p, err := e.disk.Find(context.Background(), volume)
		require.NoError(t, err)
		return p.Entry.UUID
	}
	e := reopened(t, name, "")
	old := id(e, "root")
	const part, disk = "abcdef01-4b5a-4978-8695-a4b3c2d1e0ff", "12345678-4b5a-4978-8695-a4b3c2d1e0ff"
	e = editImage(t, name, "", "mkdir /etc/kernel", "write /etc/kernel/cmdline:root=PARTUUID="+old+" ro", "set-partuuid root:"+strings.ToUpper(part), "set-disk-id "+disk)
	assert.Equal(t, part, id(e, "root"))
	assert.Equal(t, disk, e.disk.Tables()[1].ID)
	assert.Equal(t, "root=PARTUUID="+part+" ro", read(t, e, "/etc/kernel/cmdline"))
	assert.Empty(t, e.disk.Problems())
	assert.Contains(t, testtool.Run(t, "sgdisk", "-v", name), "No problems found")
	e = editImage(t, name, "", "set-partuuid root:random", "set-disk-id random")
	assert.NotEqual(t, part, id(e, "root"))
	assert.Equal(t, "root=PARTUUID="+id(e, "root")+" ro", read(t, e, "/etc/kernel/cmdline"))
	assert.Contains(t, testtool.Run(t, "sgdisk", "-v", name), "No problems found")

	// The names of the partitions of an MBR are made of its signature.
	testtool.Run(t, "sh", "-c", "sgdisk --zap-all "+name+" >/dev/null && printf 'label: dos\nlabel-id: 0x12345678\nstart=2048, size=16384, type=ef\nstart=18432, size=49152, type=83\n' | sfdisk -q "+name)
	e = editImage(t, name, "", "write /etc/kernel/cmdline:root=PARTUUID=12345678-02 x=12345678 y=12345678-03", "set-disk-id 0xCAFE0001")
	assert.Equal(t, "root=PARTUUID=cafe0001-02 x=cafe0001 y=12345678-03", read(t, e, "/etc/kernel/cmdline"))
	ctx := context.Background()
	d, err := image.Edit(ctx, name, image.EditOptions{Atomic: true, DryRun: true})
	require.NoError(t, err)
	defer d.Close()
	e, err = New(ctx, d, Options{})
	require.NoError(t, err)
	assert.ErrorContains(t, apply(t, e, "set-partuuid p2:random"), "is no partition of a GPT")
	assert.ErrorContains(t, apply(t, e, "set-disk-id "+disk), "is no disk signature")
	require.NoError(t, apply(t, e, "set-disk-id random"))
	for _, line := range []string{"set-disk-id 1", "set-partuuid root:1"} {
		assert.Error(t, apply(t, e, line), line)
	}
}
