//! The command from outside: what passes through `run` untouched, what `plan` and `check` say.

#[path = "lifecycle/site.rs"]
#[allow(dead_code)] // shared with the other test binaries
mod site;

#[path = "command/choice.rs"]
mod choice;
#[path = "command/examined.rs"]
mod examined;
#[path = "command/example.rs"]
mod example;
#[path = "command/passing.rs"]
mod passing;
#[path = "command/secrets.rs"]
mod secrets;
#[path = "command/words.rs"]
mod words;
