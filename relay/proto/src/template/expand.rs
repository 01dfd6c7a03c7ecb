//! A template and a target to a request path (RFC 6570 §3.2).

use super::{Part, UriTemplate, Variable};
use crate::{Host, Target};

impl UriTemplate {
    /// Path and query of the request for `target`.
    pub fn expand(&self, target: &Target) -> String {
        let mut path = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(literal) => path.push_str(literal),
                Part::Simple(variable) => push_value(*variable, target, &mut path),
                Part::Query { first, variables } => {
                    for (at, variable) in variables.iter().enumerate() {
                        path.push(if at == 0 { *first } else { '&' });
                        path.push_str(variable.name());
                        path.push('=');
                        push_value(*variable, target, &mut path);
                    }
                }
            }
        }
        path
    }
}

fn push_value(variable: Variable, target: &Target, path: &mut String) {
    let value = match (variable, &target.host) {
        (Variable::Port, _) => target.port.to_string(),
        (Variable::Host, Host::Ip(ip)) => ip.to_string(),
        (Variable::Host, Host::Name(name)) => name.clone(),
    };
    for byte in value.bytes() {
        match byte {
            b'-' | b'.' | b'_' | b'~' => path.push(byte.into()),
            _ if byte.is_ascii_alphanumeric() => path.push(byte.into()),
            _ => path.push_str(&format!("%{byte:02X}")),
        }
    }
}
