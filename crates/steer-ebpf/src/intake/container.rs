//! Containers, by the names of their cgroups.

/// The id of the container that a cgroup is of: the last part of its path that is named as engines
/// name them.
///
/// `docker-ID.scope`, `libpod-ID.scope`, `cri-containerd-ID.scope` and `crio-ID.scope` with the
/// systemd driver; the bare id below `docker`, `libpod_parent` or a pod of Kubernetes with cgroupfs.
pub(super) fn of(cgroup: &str) -> Option<String> {
    let is_id = |id: &str| id.len() == ID && id.bytes().all(|b| b.is_ascii_hexdigit());
    cgroup.rsplit('/').find_map(|part| {
        let name = part.strip_suffix(".scope").unwrap_or(part);
        let id = ENGINES
            .iter()
            .find_map(|engine| name.strip_prefix(engine))
            .unwrap_or(name);
        is_id(id).then(|| id.to_owned())
    })
}

const ENGINES: [&str; 4] = ["docker-", "libpod-", "cri-containerd-", "crio-"];

/// Length of an id.
const ID: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_told_by_the_shapes_of_the_usual_engines() {
        let id = "0123456789abcdef".repeat(4);
        for path in [
            format!("system.slice/docker-{id}.scope"),
            format!("docker/{id}"),
            format!("machine.slice/libpod-{id}.scope/container"),
            format!("kubepods.slice/kubepods-pod1.slice/cri-containerd-{id}.scope"),
            format!("kubepods.slice/crio-{id}.scope"),
            format!("kubepods/besteffort/pod7/{id}/init.scope"),
        ] {
            assert_eq!(of(&path), Some(id.clone()), "{path}");
        }
        for path in [
            "",
            "system.slice/nginx.service",
            "docker/0123",
            "docker-.scope",
        ] {
            assert_eq!(of(path), None, "{path}");
        }
    }
}
