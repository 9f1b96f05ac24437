//! Units of systemd's, which are cgroups by the names of their own.

use super::{CgroupError, CgroupTree};

/// Whether a cgroup's own name is that of a unit that can have processes.
pub(crate) fn is_unit(name: &str) -> bool {
    let kind = name.rsplit_once('.').filter(|(name, _)| !name.is_empty());
    !name.contains('/') && kind.is_some_and(|(_, kind)| KINDS.contains(&kind))
}

impl CgroupTree {
    /// The path of a unit, wherever it runs; of several, which users may have, the one of the system.
    ///
    /// # Errors
    /// The hierarchy cannot be read.
    pub fn unit(&self, name: &str) -> Result<Option<String>, CgroupError> {
        let named = self.find(name)?;
        let own = |path: &&String| path.rsplit('/').next() == Some(name);
        let mut found: Vec<String> = named.iter().filter(own).cloned().collect();
        found.sort_by_key(|path| (!path.starts_with(SYSTEM), path.matches('/').count()));
        Ok(found.into_iter().next())
    }
}

/// Where a unit will be that does not run: slices have their place in their name
/// (systemd.slice(5)), and all else is of the system unless it says otherwise.
pub(crate) fn place(unit: &str) -> String {
    match unit.strip_suffix(".slice") {
        None => format!("{SYSTEM}{unit}"),
        Some(name) => {
            let ends = name.match_indices('-').map(|(at, _)| at);
            let mut steps: Vec<String> = ends.map(|at| format!("{}.slice", &name[..at])).collect();
            steps.push(unit.to_owned());
            steps.join("/")
        }
    }
}

const SYSTEM: &str = "system.slice/";
/// The kinds of units that have cgroups.
const KINDS: [&str; 6] = ["service", "scope", "slice", "socket", "mount", "swap"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_told_by_its_name() {
        for name in ["nginx.service", "a-b.slice", "run-1.scope", "x.y.service"] {
            assert!(is_unit(name), "{name}");
        }
        for name in ["", "nginx", ".service", "a/b.service", "nginx.timer"] {
            assert!(!is_unit(name), "{name}");
        }
    }

    #[test]
    fn a_unit_that_does_not_run_has_its_usual_place() {
        assert_eq!(place("nginx.service"), "system.slice/nginx.service");
        assert_eq!(place("web.slice"), "web.slice");
        assert_eq!(place("a-b-c.slice"), "a.slice/a-b.slice/a-b-c.slice");
    }
}
