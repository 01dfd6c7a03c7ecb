//! May these tests load programs?

/// False, after saying why, if the kernel does not let us load programs. With
/// `WEIR_REQUIRE_PRIVILEGED=1` that is a failure.
pub(crate) fn privileged() -> bool {
    let Err(error) = weir_xdp::probe() else { return true };
    let required = std::env::var("WEIR_REQUIRE_PRIVILEGED").is_ok_and(|value| value == "1");
    assert!(!required, "privileged tests are required here: {error}");
    println!("SKIP: {error}");
    false
}
