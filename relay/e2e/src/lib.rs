//! Nothing to link: `tests/it` starts the built binaries of the relay, the sidecar and the token
//! tool, as operators, payers and issuers do, on a chain of its own.

#![forbid(unsafe_code)]
