//! The values that rules put into fields: secrets among them, which nothing shows.
//!
//! ```text
//! Policy ─ new ─> a place for each source ─ get ─> literal, env:  as at the start
//!                                              ├─> file:          read again when it has changed
//!                                              └─> command:       run again when its lifetime is over
//! ```
//!
//! What cannot be had is an error, and never the value from before: a file that vanished has no
//! value, and what a command printed has none when its lifetime is over.

mod command;
mod error;
mod file;
mod text;

use std::collections::HashMap;
use std::fmt;

use bytes::Bytes;
use steer_core::policy::{Policy, Value, ValueSource};
use zeroize::Zeroizing;

pub use error::{Unsendable, ValueError};

use command::Command;
use file::File;
use text::Text;

/// Every value that the rules of a policy put into fields.
///
/// ```
/// use steer_core::policy::Policy;
/// use steer_proxy::value::Values;
///
/// let values = Values::new(&Policy::default()).unwrap();
/// assert_eq!(format!("{values:?}"), "Values(0)");
/// ```
pub struct Values(HashMap<ValueSource, Place>);

/// Where a value is found.
enum Place {
    Constant(Text),
    File(File),
    Command(Command),
}

impl Values {
    /// Prepares the values of a policy.
    ///
    /// # Errors
    /// A variable is not set, a file cannot be read, a program is not there, or what was found
    /// cannot be the value of a field.
    pub fn new(policy: &Policy) -> Result<Self, ValueError> {
        let mut places = HashMap::new();
        for (_, value) in policy.rules.iter().flat_map(|rule| rule.http.values()) {
            let source = &value.source;
            if !places.contains_key(source) {
                places.insert(source.clone(), place(source)?);
            }
        }
        Ok(Self(places))
    }

    /// A value as it is at this moment, with what stands around it. Its bytes are wiped when the
    /// last one who holds them lets go.
    ///
    /// # Errors
    /// It cannot be had; whoever asked must do without the request, not without the value.
    pub async fn get(&self, value: &Value) -> Result<Bytes, ValueError> {
        let Value {
            source,
            prefix,
            suffix,
        } = value;
        let found = match self.0.get(source) {
            Some(Place::Constant(text)) => text.clone(),
            Some(Place::File(file)) => file.get().await?,
            Some(Place::Command(command)) => command.get().await?,
            // Of another policy.
            None => match place(source)? {
                Place::Constant(text) => text,
                Place::File(file) => file.get().await?,
                Place::Command(command) => command.get().await?,
            },
        };
        Ok(found.between(prefix, suffix).into_bytes())
    }
}

/// How many there are, and nothing of them.
impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Values({})", self.0.len())
    }
}

fn place(source: &ValueSource) -> Result<Place, ValueError> {
    Ok(match source {
        ValueSource::Literal(literal) => {
            let text = Text::new(Zeroizing::new(literal.clone().into_bytes()));
            Place::Constant(text.map_err(|source| ValueError::Literal { source })?)
        }
        ValueSource::Env(name) => {
            let value = std::env::var_os(name).ok_or_else(|| ValueError::Unset(name.clone()))?;
            let text = Text::found(std::os::unix::ffi::OsStringExt::into_vec(value));
            Place::Constant(text.map_err(|source| ValueError::Env {
                name: name.clone(),
                source,
            })?)
        }
        ValueSource::File(path) => Place::File(File::new(path)?),
        ValueSource::Command { argv, lifetime } => Place::Command(Command::new(argv, *lifetime)?),
    })
}

#[cfg(test)]
mod tests;
