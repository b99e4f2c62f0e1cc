package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/integration/testtool"
)

// FAT mounted for writing takes what ordinary programs do, and refuses what it
// cannot hold as Linux's driver does.
func TestFATMount(t *testing.T) {
	testtool.Need(t, "mkfs.fat", "fsck.fat", "tar", "diff", "mdir")
	for _, args := range []string{"-F 12 -s 32", "-F 16 -s 4", "-F 32 -s 1"} {
		t.Run(strings.Fields(args)[1], func(t *testing.T) {
			img := filepath.Join(t.TempDir(), "fat.img")
			require.NoError(t, os.WriteFile(img, nil, 0o600))
			require.NoError(t, os.Truncate(img, 40<<20))
			testtool.Run(t, "mkfs.fat", append(strings.Fields(args), img)...)
			dir, end := mountFAT(t, img)
			workOnFAT(t, dir)
			end()
			testtool.Run(t, "fsck.fat", "-n", img)

			// And it is all there the next time.
			dir, end = mountFAT(t, img)
			testtool.Run(t, "diff", "-r", "testimage", filepath.Join(dir, "a copy"))
			testtool.Run(t, "diff", "-r", "manifest", filepath.Join(dir, "from tar/manifest"))
			end()
		})
	}
}

func mountFAT(t *testing.T, img string) (dir string, end func()) {
	t.Helper()
	needFUSE(t)
	dir = filepath.Join(t.TempDir(), "mnt")
	require.NoError(t, os.Mkdir(dir, 0o755))
	out, err := exec.Command(program, "mount", "--quiet", img, dir).CombinedOutput()
	require.NoError(t, err, string(out))
	t.Cleanup(func() { _ = exec.Command(program, "umount", dir).Run() })
	return dir, func() {
		out, err := exec.Command(program, "umount", "--quiet", dir).CombinedOutput()
		require.NoError(t, err, string(out))
	}
}

func workOnFAT(t *testing.T, dir string) {
	at := func(name string) string { return filepath.Join(dir, name) }
	testtool.Run(t, "cp", "-r", "testimage", at("copy"))
	require.NoError(t, os.Mkdir(at("from tar"), 0o755))
	testtool.Run(t, "sh", "-c", "tar -cf - manifest crashtest | tar -xf - --no-same-owner -C '"+at("from tar")+"'")
	testtool.Run(t, "mv", at("copy"), at("a copy"))
	testtool.Run(t, "cp", "-r", at("a copy"), at("another"))
	testtool.Run(t, "rm", "-r", at("another"))
	testtool.Run(t, "diff", "-r", "testimage", at("a copy"))

	// Names by any spelling, at once.
	require.NoError(t, os.WriteFile(at("Some Name.txt"), []byte("x"), 0o644))
	_, err := os.Stat(at("nothing yet"))
	assert.ErrorIs(t, err, syscall.ENOENT)
	require.NoError(t, os.WriteFile(at("NOTHING YET"), nil, 0o644))
	_, err = os.Stat(at("nothing yet"))
	assert.NoError(t, err)
	for _, name := range []string{"SOME NAME.TXT", "some name.txt", "SOMENA~1.TXT"} {
		got, err := os.ReadFile(at(name))
		assert.NoError(t, err, name)
		assert.Equal(t, "x", string(got))
	}
	require.NoError(t, os.Remove(at("sOME nAME.tXT")))
	for _, name := range []string{"Some Name.txt", "SOME NAME.TXT", "some name.txt"} {
		_, err := os.Stat(at(name))
		assert.ErrorIs(t, err, syscall.ENOENT, name)
	}

	// What there is not.
	file := at("nothing yet")
	assert.ErrorIs(t, os.Symlink("x", at("link")), syscall.EPERM)
	assert.ErrorIs(t, os.Link(file, at("link")), syscall.EPERM)
	assert.ErrorIs(t, syscall.Mkfifo(at("fifo"), 0o644), syscall.EPERM)
	assert.ErrorIs(t, os.Chown(file, 5, 6), syscall.EPERM)
	assert.ErrorIs(t, os.Chmod(file, os.ModeSetuid|0o755), syscall.EPERM)
	assert.ErrorIs(t, syscall.Setxattr(file, "user.x", []byte("y"), 0), syscall.ENOTSUP)
	assert.ErrorIs(t, os.WriteFile(at("a:b"), nil, 0o644), syscall.EINVAL)
	assert.ErrorIs(t, os.WriteFile(at(strings.Repeat("n", 256)), nil, 0o644), syscall.ENAMETOOLONG)
	require.NoError(t, os.Chmod(file, 0o444))
	info, err := os.Stat(file)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o444), info.Mode())

	// A file without a name.
	f, err := os.Create(at("open"))
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, os.Remove(at("open")))
	_, err = f.WriteString("still here")
	require.NoError(t, err)
	p := make([]byte, 10)
	_, err = f.ReadAt(p, 0)
	require.NoError(t, err)
	assert.Equal(t, "still here", string(p))

	// cp -a brings what it can, and names what it cannot.
	src := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(src, "plain"), []byte("p"), 0o640))
	require.NoError(t, os.Symlink("plain", filepath.Join(src, "link")))
	out, err := exec.Command("cp", "-a", src, at("archive")).CombinedOutput()
	assert.Error(t, err)
	assert.Contains(t, string(out), "archive/link': Operation not permitted")
	got, err := os.ReadFile(at("archive/plain"))
	require.NoError(t, err)
	assert.Equal(t, "p", string(got))
}

// The commands of the program write to FAT, and say which file is not one for
// it.
func TestFATCommands(t *testing.T) {
	testtool.Need(t, "mkfs.fat", "fsck.fat")
	img := filepath.Join(t.TempDir(), "fat.img")
	require.NoError(t, os.WriteFile(img, nil, 0o600))
	require.NoError(t, os.Truncate(img, 40<<20))
	testtool.Run(t, "mkfs.fat", "-F", "32", "-s", "1", img)
	run := func(args ...string) string {
		t.Helper()
		out, err := exec.Command(program, args...).CombinedOutput()
		require.NoError(t, err, "%s", out)
		return string(out)
	}
	run("mkdir", "-p", img+":/EFI/BOOT")
	run("cp", "main_test.go", img+":/EFI/BOOT/BOOTX64.EFI")
	run("cp", "-r", "testimage", img+":/tree")
	run("mv", img+":/tree", img+":/EFI/Tree")
	run("mv", img+":/EFI/Tree", img+":/EFI/TREE")
	run("touch", img+":/EFI/touched")
	run("cp", "main_test.go", img+":/spelled.go")
	run("mv", img+":/spelled.go", img+":/Spelled.Go")
	assert.Equal(t, "EFI\nSpelled.Go\n", run("ls", img+":/"))
	run("rm", "-r", img+":/EFI/tree")
	assert.Equal(t, "BOOT\ntouched\n", run("ls", img+":/EFI"))
	testtool.Run(t, "fsck.fat", "-n", img)

	src := filepath.Join(t.TempDir(), "src")
	require.NoError(t, os.Mkdir(src, 0o755))
	require.NoError(t, os.Symlink("x", filepath.Join(src, "link")))
	out, err := exec.Command(program, "cp", "-a", src, img+":/").CombinedOutput()
	assert.Error(t, err)
	assert.Contains(t, string(out), "link")
	assert.Contains(t, string(out), "FAT has no symbolic links")
	testtool.Run(t, "fsck.fat", "-n", img)
}
