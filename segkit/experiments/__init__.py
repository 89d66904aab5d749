"""Many runs: trained, compared, reported."""
