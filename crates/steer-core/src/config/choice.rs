//! `method`: which methods may be used.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::document::{Node, Value};
use super::fault::Fault;
use super::nearest::nearest;
use super::report::Report;
use super::value;
use crate::method::{Method, UnknownMethod};

/// Which methods may be used.
///
/// ```
/// use steer_core::config::MethodChoice;
/// use steer_core::method::Method;
/// assert_eq!("auto".parse::<MethodChoice>().unwrap(), MethodChoice::Auto);
/// assert_eq!(
///     "redirect,env".parse::<MethodChoice>().unwrap(),
///     MethodChoice::Preferred(vec![Method::Redirect, Method::Env]),
/// );
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MethodChoice {
    /// The first that can honour the whole intent here.
    #[default]
    Auto,
    /// The first of these that can; at least one, none twice.
    Preferred(Vec<Method>),
}

/// Why a text is no choice of methods.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MethodChoiceError {
    /// A name that is no method.
    #[error(transparent)]
    Unknown(#[from] UnknownMethod),
    /// `auto` beside others.
    #[error("`auto` stands alone or not at all")]
    AutoInList,
    /// A method twice.
    #[error("{0} stands twice")]
    Twice(Method),
}

impl MethodChoice {
    /// The methods to try, the preferred one first; `None` leaves the order to `auto`.
    #[must_use]
    pub fn preferred(&self) -> Option<&[Method]> {
        match self {
            Self::Auto => None,
            Self::Preferred(methods) => Some(methods),
        }
    }
}

impl From<Method> for MethodChoice {
    fn from(method: Method) -> Self {
        Self::Preferred(vec![method])
    }
}

impl fmt::Display for MethodChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str(AUTO),
            Self::Preferred(methods) => {
                let names: Vec<_> = methods.iter().map(|m| m.name()).collect();
                f.write_str(&names.join(","))
            }
        }
    }
}

impl FromStr for MethodChoice {
    type Err = MethodChoiceError;

    /// `auto`, or names separated by commas.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == AUTO {
            return Ok(Self::Auto);
        }
        let mut methods = Vec::new();
        for name in text.split(',') {
            if name == AUTO {
                return Err(MethodChoiceError::AutoInList);
            }
            let method = name.parse()?;
            if methods.contains(&method) {
                return Err(MethodChoiceError::Twice(method));
            }
            methods.push(method);
        }
        Ok(Self::Preferred(methods))
    }
}

/// Reads `method`: `auto`, a name, or a list of names.
pub(super) fn read(node: &Node, report: &mut Report<'_>) -> Option<MethodChoice> {
    let items = match &node.value {
        Value::Text(text) if text == AUTO => return Some(MethodChoice::Auto),
        Value::List(items) if items.is_empty() => {
            return report.none(&node.span, Fault::Empty("method".to_owned()));
        }
        Value::List(items) => items.as_slice(),
        Value::Text(_) | Value::Null | Value::Map(_) => std::slice::from_ref(node),
    };
    let mut methods = Vec::new();
    for item in items {
        let Some(name) = value::text(item, "method", EXPECTED, report) else {
            continue;
        };
        match name.parse::<Method>() {
            Ok(method) if methods.contains(&method) => {
                report.fault(&item.span, Fault::Twice(format!("`{method}`")));
            }
            Ok(method) => methods.push(method),
            Err(_) if name == AUTO => report.fault(&item.span, Fault::AutoInList),
            Err(error) => {
                let near = nearest(name, Method::ALL.map(Method::name));
                report.fault(&item.span, Fault::Method { error, near });
            }
        }
    }
    Some(MethodChoice::Preferred(methods))
}

const AUTO: &str = "auto";
const EXPECTED: &str = "`auto`, a method, or a list of methods";
