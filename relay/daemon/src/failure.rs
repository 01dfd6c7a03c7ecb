//! Why a command failed, as a line for a person and an exit code for a supervisor.

use std::fmt;

use crate::config::Report;

/// An error with its exit code (sysexits.h), so that a unit file or a script can tell a mistake
/// in the configuration, which a restart can't cure, from a passing trouble.
#[derive(Debug)]
pub enum Failure {
    /// 78: the configuration is wrong.
    Config(String),
    /// 77: the process lacks a privilege.
    Privilege(String),
    /// 69: something outside is not as needed: a port in use, a relay that doesn't answer.
    Unavailable(String),
    /// 70: everything else.
    Internal(anyhow::Error),
}

impl Failure {
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Config(_) => 78,
            Failure::Privilege(_) => 77,
            Failure::Unavailable(_) => 69,
            Failure::Internal(_) => 70,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Config(text) | Failure::Privilege(text) | Failure::Unavailable(text) => {
                f.write_str(text)
            }
            Failure::Internal(error) => write!(f, "{error:#}"),
        }
    }
}

impl std::error::Error for Failure {}

impl From<Report> for Failure {
    fn from(report: Report) -> Self {
        Failure::Config(report.to_string())
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Failure::Internal(error)
    }
}
