//! Command lines of `fiatrails` that our own programs call. A test of `ops` checks that it understands them.

/// `compliance set` for a user of a demonstration or a measurement.
pub fn set_compliance(user: &str, risk: u8, verified: bool) -> Vec<String> {
    let (risk, attestation) = (risk.to_string(), format!("0x{}", "a7".repeat(32)));
    let mut line = vec!["compliance", "set", user, "--risk", &risk];
    line.extend([
        "--attestation",
        &attestation,
        "--reason",
        "a user made for this run",
    ]);
    if !verified {
        line.push("--unverified");
    }
    line.into_iter().map(str::to_owned).collect()
}
