package conformance

func pathCases(Options) []testCase    { return nil }
func nameCases(Options) []testCase    { return nil }
func handleCases(Options) []testCase  { return nil }
func removedCases(Options) []testCase { return nil }
func flagCases(Options) []testCase    { return nil }
func timeCases(Options) []testCase    { return nil }
func userCases(Options) []testCase    { return nil }
func limitCases(Options) []testCase   { return nil }

const flagNoDump = 0x40

func setFlags(path string, flags int) error { return nil }
