"""What the fault tests share: publishers that know what was acknowledged, a failing link, checks."""
