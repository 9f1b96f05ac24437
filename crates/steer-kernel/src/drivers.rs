//! The drivers as a set.

pub(crate) mod netns;
