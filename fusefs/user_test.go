package fusefs_test

const helperEnv = "RESFLASH_FUSEFS_TEST_HELPER"

func userHelper() int { return 0 }
