//! Words of messages about keys and values.

/// The section that a key stands in; nothing at the top.
pub(super) fn in_section(section: &str) -> String {
    if section.is_empty() {
        String::new()
    } else {
        format!(" in `{section}`")
    }
}

/// The word that was meant, or all that there are.
pub(super) fn guess(near: Option<&str>, lead: &str, known: &[&str]) -> String {
    match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("{lead} {}", listed(known, "and")),
    }
}

/// A key in quotes; a description, which has spaces, as it stands.
pub(super) fn quoted(key: &str) -> String {
    if key.contains(' ') {
        key.to_owned()
    } else {
        format!("`{key}`")
    }
}

/// Words in quotes, joined as in a sentence.
pub(super) fn listed<T: AsRef<str>>(words: &[T], last_joint: &str) -> String {
    let quoted: Vec<_> = words.iter().map(|w| format!("`{}`", w.as_ref())).collect();
    match quoted.split_last() {
        None => String::new(),
        Some((only, [])) => only.clone(),
        Some((last, head)) => format!("{} {last_joint} {last}", head.join(", ")),
    }
}
