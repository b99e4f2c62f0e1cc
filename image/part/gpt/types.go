package gpt

import (
	"strings"
	"sync"
)

// A Type is what a partition type GUID stands for.
type Type struct {
	Name string // for people: "Linux root (x86-64)"
	// Role is the use that the Discoverable Partitions Specification gives the
	// type, without the architecture: "root", "usr", "root-verity",
	// "usr-verity-sig", "home", "srv", "var", "tmp", "user-home", "swap",
	// "esp", "xbootldr", "linux-generic". Empty for all other types.
	Role string
	Arch string // architecture of root and usr types: "x86-64", "arm64"; else empty
}

// ID is the identifier of the specification, as systemd-id128 prints it:
// "root-x86-64", "usr-arm64-verity-sig", "home"; empty where Role is.
func (t Type) ID() string {
	if t.Arch == "" {
		return t.Role
	}
	use, rest, verity := strings.Cut(t.Role, "-")
	if !verity {
		return use + "-" + t.Arch
	}
	return use + "-" + t.Arch + "-" + rest
}

// TypeInfo looks up a type GUID, in either case. Unknown ones are false.
func TypeInfo(guid string) (Type, bool) {
	t, ok := types()[strings.ToUpper(guid)]
	return t, ok
}

// The types that this program looks for.
const (
	TypeEFISystem   = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
	TypeOpenBSD     = "824CC7A0-36A8-11E3-890A-952519AD3F61"
	TypeFreeBSDData = "516E7CB4-6ECF-11D6-8FF8-00022D09712B"
)

var types = sync.OnceValue(func() map[string]Type {
	m := make(map[string]Type, len(otherTypes)+len(specTypes)+6*len(architectures))
	for guid, name := range otherTypes {
		m[guid] = Type{Name: name}
	}
	for guid, t := range specTypes {
		m[guid] = t
	}
	for _, a := range architectures {
		of := " (" + a.name + ")"
		m[a.root] = Type{"Linux root" + of, "root", a.id}
		m[a.usr] = Type{"Linux /usr" + of, "usr", a.id}
		m[a.rootVerity] = Type{"Linux root verity" + of, "root-verity", a.id}
		m[a.usrVerity] = Type{"Linux /usr verity" + of, "usr-verity", a.id}
		m[a.rootSig] = Type{"Linux root verity signature" + of, "root-verity-sig", a.id}
		m[a.usrSig] = Type{"Linux /usr verity signature" + of, "usr-verity-sig", a.id}
	}
	return m
})

// specTypes are the types of the Discoverable Partitions Specification that
// are the same on all architectures.
var specTypes = map[string]Type{
	TypeEFISystem:                          {Name: "EFI System", Role: "esp"},
	"BC13C2FF-59E6-4262-A352-B275FD6F7172": {Name: "Linux extended boot", Role: "xbootldr"},
	"0657FD6D-A4AB-43C4-84E5-0933C84B4F4F": {Name: "Linux swap", Role: "swap"},
	"933AC7E1-2EB4-4F13-B844-0E14E2AEF915": {Name: "Linux home", Role: "home"},
	"3B8F8425-20E0-4F3B-907F-1A25A76F98E8": {Name: "Linux server data", Role: "srv"},
	"4D21B016-B534-45C2-A9FB-5C16E091FD2D": {Name: "Linux variable data", Role: "var"},
	"7EC6F557-3BC5-4ACA-B293-16EF5DF639D1": {Name: "Linux temporary data", Role: "tmp"},
	"773F91EF-66D4-49B5-BD83-D683BF40AD16": {Name: "Linux user's home", Role: "user-home"},
	"0FC63DAF-8483-4772-8E79-3D69D8477DE4": {Name: "Linux filesystem", Role: "linux-generic"},
}

// otherTypes are the names of everybody else's types.
var otherTypes = map[string]string{
	"024DEE41-33E7-11D3-9D69-0008C781F39F": "MBR partition scheme",
	"D3BFE2DE-3DAF-11DF-BA40-E3A556D89593": "Intel Fast Flash",
	"21686148-6449-6E6F-744E-656564454649": "BIOS boot",
	"F4019732-066E-4E12-8273-346C5641494F": "Sony boot partition",
	"BFBFAFE7-A34F-448A-9A5B-6213EB736C22": "Lenovo boot partition",
	"9E1A2D38-C612-4316-AA26-8B49521E5A8B": "PowerPC PReP boot",
	"7412F7D5-A156-4B13-81DC-867174929325": "ONIE boot",
	"D4E6E2CD-4469-46F3-B5CB-1BFF57AFC149": "ONIE config",

	"E3C9E316-0B5C-4DB8-817D-F92DF00215AE": "Microsoft reserved",
	"EBD0A0A2-B9E5-4433-87C0-68B6B72699C7": "Microsoft basic data",
	"5808C8AA-7E8F-42E0-85D2-E1E90434CFB3": "Microsoft LDM metadata",
	"AF9B60A0-1431-4F62-BC68-3311714A69AD": "Microsoft LDM data",
	"DE94BBA4-06D1-4D40-A16A-BFD50179D6AC": "Windows recovery environment",
	"37AFFC90-EF7D-4E96-91C3-2D7AE055B174": "IBM General Parallel File System",
	"E75CAF8F-F680-4CEE-AFA3-B001E56EFC2D": "Microsoft Storage Spaces",
	"75894C1E-3AEB-11D3-B7C1-7B03A0000000": "HP-UX data",
	"E2A1E728-32E3-11D6-A682-7B03A0000000": "HP-UX service",

	"8DA63339-0007-60C0-C436-083AC8230908": "Linux reserved",
	"A19D880F-05FC-4D3B-A006-743F0F84911E": "Linux RAID",
	"E6D6D379-F507-44C2-A23C-238F2A3DF928": "Linux LVM",
	"7FFEC5C9-2D00-49B7-8941-3EA10A5586B7": "Linux plain dm-crypt",
	"CA7D7CCB-63ED-4C53-861C-1742536059CC": "Linux LUKS",

	"83BD6B9D-7F41-11DC-BE0B-001560B84F0F": "FreeBSD boot",
	TypeFreeBSDData:                        "FreeBSD data",
	"516E7CB5-6ECF-11D6-8FF8-00022D09712B": "FreeBSD swap",
	"516E7CB6-6ECF-11D6-8FF8-00022D09712B": "FreeBSD UFS",
	"516E7CB8-6ECF-11D6-8FF8-00022D09712B": "FreeBSD Vinum",
	"516E7CBA-6ECF-11D6-8FF8-00022D09712B": "FreeBSD ZFS",
	"74BA7DD9-A689-11E1-BD04-00E081286ACF": "FreeBSD nandfs",
	TypeOpenBSD:                            "OpenBSD data",
	"49F48D32-B10E-11DC-B99B-0019D1879648": "NetBSD swap",
	"49F48D5A-B10E-11DC-B99B-0019D1879648": "NetBSD FFS",
	"49F48D82-B10E-11DC-B99B-0019D1879648": "NetBSD LFS",
	"49F48DAA-B10E-11DC-B99B-0019D1879648": "NetBSD RAID",
	"2DB519C4-B10F-11DC-B99B-0019D1879648": "NetBSD concatenated",
	"2DB519EC-B10F-11DC-B99B-0019D1879648": "NetBSD encrypted",
	"85D5E45A-237C-11E1-B4B3-E89A8F7FC3A7": "MidnightBSD data",
	"85D5E45B-237C-11E1-B4B3-E89A8F7FC3A7": "MidnightBSD swap",
	"85D5E45C-237C-11E1-B4B3-E89A8F7FC3A7": "MidnightBSD Vinum",
	"85D5E45D-237C-11E1-B4B3-E89A8F7FC3A7": "MidnightBSD ZFS",
	"85D5E45E-237C-11E1-B4B3-E89A8F7FC3A7": "MidnightBSD boot",
	"0394EF8B-237E-11E1-B4B3-E89A8F7FC3A7": "MidnightBSD UFS",
	"9D087404-1CA5-11DC-8817-01301BB8A9F5": "DragonFly label32",
	"9D58FDBD-1CA5-11DC-8817-01301BB8A9F5": "DragonFly swap",
	"9D94CE7C-1CA5-11DC-8817-01301BB8A9F5": "DragonFly UFS",
	"9DD4478F-1CA5-11DC-8817-01301BB8A9F5": "DragonFly Vinum",
	"DBD5211B-1CA5-11DC-8817-01301BB8A9F5": "DragonFly ccd",
	"3D48CE54-1D16-11DC-8696-01301BB8A9F5": "DragonFly label64",
	"BD215AB2-1D16-11DC-8696-01301BB8A9F5": "DragonFly legacy",
	"61DC63AC-6E38-11DC-8513-01301BB8A9F5": "DragonFly HAMMER",
	"5CBB9AD1-862D-11DC-A94D-01301BB8A9F5": "DragonFly HAMMER2",

	"48465300-0000-11AA-AA11-00306543ECAC": "Apple HFS/HFS+",
	"7C3457EF-0000-11AA-AA11-00306543ECAC": "Apple APFS",
	"55465300-0000-11AA-AA11-00306543ECAC": "Apple UFS",
	"52414944-0000-11AA-AA11-00306543ECAC": "Apple RAID",
	"52414944-5F4F-11AA-AA11-00306543ECAC": "Apple RAID offline",
	"426F6F74-0000-11AA-AA11-00306543ECAC": "Apple boot",
	"4C616265-6C00-11AA-AA11-00306543ECAC": "Apple label",
	"5265636F-7665-11AA-AA11-00306543ECAC": "Apple TV recovery",
	"53746F72-6167-11AA-AA11-00306543ECAC": "Apple Core storage",
	"69646961-6700-11AA-AA11-00306543ECAC": "Apple Silicon boot",
	"52637672-7900-11AA-AA11-00306543ECAC": "Apple Silicon recovery",
	"6A82CB45-1DD2-11B2-99A6-080020736631": "Solaris boot",
	"6A85CF4D-1DD2-11B2-99A6-080020736631": "Solaris root",
	"6A898CC3-1DD2-11B2-99A6-080020736631": "Solaris /usr or ZFS",
	"6A87C46F-1DD2-11B2-99A6-080020736631": "Solaris swap",
	"6A8B642B-1DD2-11B2-99A6-080020736631": "Solaris backup",
	"6A8EF2E9-1DD2-11B2-99A6-080020736631": "Solaris /var",
	"6A90BA39-1DD2-11B2-99A6-080020736631": "Solaris /home",
	"6A9283A5-1DD2-11B2-99A6-080020736631": "Solaris alternate sector",
	"6A945A3B-1DD2-11B2-99A6-080020736631": "Solaris reserved 1",
	"6A9630D1-1DD2-11B2-99A6-080020736631": "Solaris reserved 2",
	"6A980767-1DD2-11B2-99A6-080020736631": "Solaris reserved 3",
	"6A96237F-1DD2-11B2-99A6-080020736631": "Solaris reserved 4",
	"6A8D2AC7-1DD2-11B2-99A6-080020736631": "Solaris reserved 5",

	"FE3A2A5D-4F32-41A7-B725-ACCC3285A309": "ChromeOS kernel",
	"3CB8E202-3B7E-47DD-8A3C-7FF2A13CFCEC": "ChromeOS root fs",
	"2E0A753D-9E48-43B0-8337-B15192CB1B5E": "ChromeOS reserved",
	"CAB6E88E-ABF3-4102-A07A-D4BB9BE3C1D3": "ChromeOS firmware",
	"09845860-705F-4BB5-B16C-8A8A099CAF52": "ChromeOS minios",
	"3F0F8318-F146-4E6B-8222-C28C8F02E0D5": "ChromeOS hibernate",
	"45B0969E-9B03-4F30-B4C6-B4B80CEFF106": "Ceph journal",
	"45B0969E-9B03-4F30-B4C6-5EC00CEFF106": "Ceph encrypted journal",
	"4FBD7E29-9D25-41B8-AFD0-062C0CEFF05D": "Ceph OSD",
	"4FBD7E29-9D25-41B8-AFD0-5EC00CEFF05D": "Ceph crypt OSD",
	"89C57F98-2FE5-4DC0-89C1-F3AD0CEFF2BE": "Ceph disk in creation",
	"89C57F98-2FE5-4DC0-89C1-5EC00CEFF2BE": "Ceph crypt disk in creation",
	"AA31E02A-400F-11DB-9590-000C2911D1B8": "VMware VMFS",
	"9D275380-40AD-11DB-BF97-000C2911D1B8": "VMware diagnostic",
	"381CFCCC-7288-11E0-92EE-000C2911D0B2": "VMware Virtual SAN",
	"77719A0C-A4A0-11E3-A47E-000C29745A24": "VMware Virsto",
	"9198EFFC-31C0-11DB-8F78-000C2911D1B8": "VMware reserved",
	"CEF5A9AD-73BC-4601-89F3-CDEEEEE321A1": "QNX6 file system",
	"C91818F9-8025-47AF-89D2-F030D7000C2C": "Plan 9 partition",
	"5B193300-FC78-40CD-8002-E86C45580B47": "HiFive FSBL",
	"2E54B353-1271-4842-806F-E436D6AF6985": "HiFive BBL",
	"42465331-3BA3-10F1-802A-4861696B7521": "Haiku BFS",
	"6828311A-BA55-42A4-BCDE-A89BB5EDECAE": "Marvell Armada 3700 boot",
}
