package conformance

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// limitCases try what a format has room for.
func limitCases(opt Options) []testCase {
	var all []testCase
	if n := opt.LinkMax; n != 0 {
		links := func(dir string) error {
			if err := os.WriteFile(dir+"/x", nil, 0o644); err != nil {
				return errno(err)
			}
			for i := 1; i < n; i++ {
				if err := unix.Link(dir+"/x", fmt.Sprintf("%s/%d", dir, i)); err != nil {
					return fmt.Errorf("link %d: %w", i, err)
				}
			}
			return nil
		}
		dirs := func(dir string) error {
			for i := 2; i < n-1; i++ { // "dir" is one as well
				if err := unix.Mkdir(fmt.Sprintf("%s/%d", dir, i), 0o755); err != nil {
					return fmt.Errorf("mkdir %d: %w", i, err)
				}
			}
			return unix.Mkdir(dir+"/dir", 0o755)
		}
		few := func(opt Options) bool { return opt.FewDirs }
		all = append(all,
			testCase{name: "link/too-many", want: unix.EMLINK, run: func(dir string, _ Options) error {
				return first(links(dir), unix.Link(dir+"/x", dir+"/last"))
			}},
			testCase{name: "mkdir/too-many", skip: few, want: unix.EMLINK, run: func(dir string, _ Options) error {
				return first(dirs(dir), unix.Mkdir(dir+"/last", 0o755))
			}},
			testCase{name: "rename-dir-in/too-many", skip: few, want: unix.EMLINK, run: func(dir string, _ Options) error {
				return first(unix.Mkdir(dir+"/full", 0o755), dirs(dir+"/full"), unix.Mkdir(dir+"/one", 0o755),
					unix.Rename(dir+"/one", dir+"/full/last"))
			}},
			testCase{name: "create/too-many-dirs", skip: few, run: func(dir string, _ Options) error {
				return first(dirs(dir), unix.Mknod(dir+"/file", unix.S_IFREG|0o644, 0))
			}},
		)
	}
	if size := opt.SizeMax; size != 0 {
		sparse := func(name string, want error, fn func(x string, fd int) error) {
			all = append(all, testCase{name: name, want: want, run: func(dir string, _ Options) error {
				fd, err := unix.Open(dir+"/x", unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC, 0o644)
				if err != nil {
					return err
				}
				defer unix.Close(fd)
				return fn(dir+"/x", fd)
			}})
		}
		sparse("truncate/largest", nil, func(x string, _ int) error { return unix.Truncate(x, size) })
		sparse("truncate/too-large", unix.EFBIG, func(x string, _ int) error { return unix.Truncate(x, size+1) })
		sparse("ftruncate/too-large", unix.EFBIG, func(_ string, fd int) error { return unix.Ftruncate(fd, size+1) })
		sparse("pwrite/last-byte", nil, func(_ string, fd int) error { _, err := unix.Pwrite(fd, []byte("x"), size-1); return err })
		sparse("pwrite/too-far", unix.EFBIG, func(_ string, fd int) error { _, err := unix.Pwrite(fd, []byte("x"), size); return err })
		if !opt.NoFallocate {
			sparse("fallocate/too-far", unix.EFBIG, func(_ string, fd int) error { return unix.Fallocate(fd, 0, size-10, 20) })
		}
	}
	if opt.Xattrs {
		x := func(name string, want error, fn func(x string) error) {
			all = append(all, testCase{name: name + "/xattr", want: want, run: func(dir string, _ Options) error {
				return first(os.WriteFile(dir+"/x", nil, 0o644), fn(dir+"/x"))
			}})
		}
		buf := make([]byte, 100)
		get := func(x string) error { _, err := unix.Getxattr(x, "user.a", buf); return err }
		set := func(flags int) func(x string) error {
			return func(x string) error { return unix.Setxattr(x, "user.a", []byte("value"), flags) }
		}
		remove := func(x string) error { return unix.Removexattr(x, "user.a") }
		both := func(a, b func(string) error) func(string) error {
			return func(x string) error { return first(a(x), b(x)) }
		}
		x("get-missing", unix.ENODATA, get)
		x("get", nil, both(set(0), get))
		x("get-short", unix.ERANGE, both(set(0), func(x string) error { _, err := unix.Getxattr(x, "user.a", buf[:2]); return err }))
		x("create", nil, set(unix.XATTR_CREATE))
		x("create-existing", unix.EEXIST, both(set(0), set(unix.XATTR_CREATE)))
		x("replace", nil, both(set(0), set(unix.XATTR_REPLACE)))
		x("replace-missing", unix.ENODATA, set(unix.XATTR_REPLACE))
		x("remove", nil, both(set(0), remove))
		x("remove-missing", unix.ENODATA, remove)
		x("unknown-namespace", unix.EOPNOTSUPP, func(x string) error { return unix.Setxattr(x, "nobody.a", nil, 0) })
		x("name-too-long", unix.ERANGE, func(x string) error { return unix.Setxattr(x, "user."+long(251), nil, 0) })
		x("on-link", unix.EPERM, func(x string) error {
			return first(unix.Symlink("x", x+"-link"), unix.Lsetxattr(x+"-link", "user.a", nil, 0))
		})
		x("list", nil, both(set(0), func(x string) error {
			n, err := unix.Listxattr(x, buf)
			if err == nil && string(buf[:n]) != "user.a\x00" {
				return unix.EBADMSG
			}
			return err
		}))
	} else {
		for name, fn := range map[string]func(x string) error{
			"get":    func(x string) error { _, err := unix.Getxattr(x, "user.a", nil); return err },
			"set":    func(x string) error { return unix.Setxattr(x, "user.a", nil, 0) },
			"remove": func(x string) error { return unix.Removexattr(x, "user.a") },
		} {
			all = append(all, testCase{name: name + "/no-xattrs", want: unix.EOPNOTSUPP, run: func(dir string, _ Options) error {
				return first(os.WriteFile(dir+"/x", nil, 0o644), fn(dir+"/x"))
			}, skip: func(o Options) bool { return o.Host }})
		}
	}
	return all
}
