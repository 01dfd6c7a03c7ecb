//! URI templates of CONNECT-UDP (RFC 9298 §2): the part of RFC 6570 that they may use, matched
//! against request paths and expanded.

mod expand;
mod matching;

use crate::Error;

/// Where a proxy serves CONNECT-UDP unless it says otherwise (RFC 9298 §2).
pub const DEFAULT: &str = "/.well-known/masque/udp/{target_host}/{target_port}/";

/// The same place in query form.
pub const DEFAULT_QUERY: &str = "/.well-known/masque/udp{?target_host,target_port}";

/// A parsed template: path and query only, since a relay doesn't care by which name it was reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UriTemplate {
    parts: Vec<Part>,
}

/// The two variables that a template has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variable {
    Host,
    Port,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    /// `{target_host}`
    Simple(Variable),
    /// `{?target_host,target_port}`, and with `&` as the first character `{&...}`
    Query {
        first: char,
        variables: Vec<Variable>,
    },
}

impl UriTemplate {
    /// Reads a template: `https://authority/path...` or the path alone.
    ///
    /// # Errors
    /// [`Error::Template`] when a rule of RFC 9298 §2 is broken, or when it has a variable other
    /// than `target_host` and `target_port`, for which a relay has no value.
    pub fn parse(template: &str) -> Result<Self, Error> {
        if !template.bytes().all(|byte| (0x21..=0x7e).contains(&byte)) {
            return wrong("only printable ASCII characters are allowed");
        }
        let mut rest = path_of(template)?;
        let mut parts = Vec::new();
        while let Some((literal, expression)) = rest.split_once('{') {
            let Some((expression, after)) = expression.split_once('}') else {
                return wrong("a brace is not closed");
            };
            push_literal(&mut parts, literal)?;
            parts.push(Part::parse(expression)?);
            rest = after;
        }
        push_literal(&mut parts, rest)?;
        let template = Self { parts };
        for variable in [Variable::Host, Variable::Port] {
            if template.variables().filter(|found| *found == variable).count() != 1 {
                return wrong("target_host and target_port have to be there, each once");
            }
        }
        template.check_separated()?;
        Ok(template)
    }

    fn variables(&self) -> impl Iterator<Item = Variable> {
        self.parts
            .iter()
            .flat_map(|part| match part {
                Part::Literal(_) => &[],
                Part::Simple(variable) => std::slice::from_ref(variable),
                Part::Query { variables, .. } => &variables[..],
            })
            .copied()
    }

    /// Two values side by side can't be told apart, and neither can a value and what follows it
    /// unless that begins with a delimiter.
    fn check_separated(&self) -> Result<(), Error> {
        for pair in self.parts.windows(2) {
            let [Part::Simple(_) | Part::Query { .. }, next] = pair else { continue };
            let separated = match next {
                Part::Literal(literal) => literal.starts_with(matching::DELIMITERS),
                Part::Simple(_) => false,
                Part::Query { .. } => true,
            };
            if !separated {
                return wrong("after a variable there has to be '/', '?' or '&', or the end");
            }
        }
        Ok(())
    }
}

impl Part {
    fn parse(expression: &str) -> Result<Self, Error> {
        let Some(operator) = expression.chars().next() else {
            return wrong("an expression is empty");
        };
        match operator {
            '?' | '&' => {
                let variables = expression[1..].split(',').map(Variable::parse);
                Ok(Self::Query { first: operator, variables: variables.collect::<Result<_, _>>()? })
            }
            '+' | '#' | '.' | '/' | ';' => {
                wrong("only {variable}, {?list} and {&list} are allowed (RFC 9298 section 2)")
            }
            _ if expression.contains(',') => wrong("use one expression for each variable"),
            _ => Variable::parse(expression).map(Self::Simple),
        }
    }
}

impl Variable {
    const fn name(self) -> &'static str {
        match self {
            Self::Host => "target_host",
            Self::Port => "target_port",
        }
    }

    fn parse(name: &str) -> Result<Self, Error> {
        match name {
            "target_host" => Ok(Self::Host),
            "target_port" => Ok(Self::Port),
            _ => wrong("the variables are target_host and target_port, without modifiers"),
        }
    }
}

/// The templates that a relay serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Templates(pub Vec<UriTemplate>);

impl Default for Templates {
    /// [`DEFAULT`] and [`DEFAULT_QUERY`].
    fn default() -> Self {
        let parse = |text| UriTemplate::parse(text).expect("the default templates are valid");
        Self(vec![parse(DEFAULT), parse(DEFAULT_QUERY)])
    }
}

impl Templates {
    /// The target that `path` (path and query of a request) names, by the first template that
    /// matches.
    ///
    /// # Errors
    /// [`Error::Refused`]: 404 when no template matches, 400 or 403 for the values.
    pub fn match_path(&self, path: &str) -> Result<crate::Target, Error> {
        self.0.iter().find_map(|template| template.match_path(path)).unwrap_or(Err(Error::refused(
            404,
            crate::ProxyError::HttpRequestError,
            "the path matches no template of a CONNECT-UDP proxy",
        )))
    }
}

fn path_of(template: &str) -> Result<&str, Error> {
    let path = match template.split_once("://") {
        Some(("https", rest)) => match rest.find('/') {
            Some(0) | None => return wrong("after https:// come an authority and a path"),
            Some(at) if rest[..at].contains('{') => {
                return wrong("variables may only be in the path and the query");
            }
            Some(at) => &rest[at..],
        },
        Some(_) => return wrong("the scheme has to be https"),
        None => template,
    };
    if path.starts_with('/') { Ok(path) } else { wrong("the path has to begin with '/'") }
}

fn push_literal(parts: &mut Vec<Part>, literal: &str) -> Result<(), Error> {
    if literal.contains(['}', '#']) {
        return wrong("'}' without '{', or a fragment");
    }
    if !literal.is_empty() {
        parts.push(Part::Literal(literal.to_owned()));
    }
    Ok(())
}

const fn wrong<T>(what: &'static str) -> Result<T, Error> {
    Err(Error::Template { what })
}
