//! Trying the method: a program is started with the library, and its loader asked.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use steer_core::steerer::Evidence;
use steer_kernel::host::libraries;
use tokio::process::Command;

use crate::library::Library;

/// Whether the loader of a program loads the library: `cat` tells what is mapped in its process.
///
/// Nothing is connected.
pub(crate) async fn probe() -> Evidence {
    match tokio::time::timeout(DEADLINE, attempt()).await {
        Ok(Ok(true)) => Evidence::Works,
        Ok(Ok(false)) => Evidence::Fails {
            why: "the loader of `cat` does not load the library".to_owned(),
            remedy: "use `-m netns` or `-m seccomp`: this C library takes no LD_PRELOAD".to_owned(),
        },
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Evidence::Unknown {
            why: error.to_string(),
        },
        Ok(Err(error)) => Evidence::Fails {
            why: error.to_string(),
            remedy: "set STEER_RUN_DIR to a directory of your own on a file system without noexec"
                .to_owned(),
        },
        Err(_) => Evidence::Unknown {
            why: "`cat` took too long".to_owned(),
        },
    }
}

async fn attempt() -> io::Result<bool> {
    let dir = libraries().ok_or(io::ErrorKind::NotFound)?;
    let mut random = [0; 16];
    io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut random)?;
    let name = format!("steer-control-{:032x}", u128::from_ne_bytes(random));
    let _library = Library::unpack(&dir, &name)?;
    let library = dir.join(format!("{name}.so"));
    let output = Command::new("cat")
        .arg("/proc/self/maps")
        .env("LD_PRELOAD", &library)
        .env_remove("STEER_PRELOAD")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    let mapped = String::from_utf8_lossy(&output.stdout);
    Ok(mapped.lines().any(|line| line.contains(name.as_str())))
}

const DEADLINE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_loader_of_this_host_loads_the_library() {
        assert_eq!(probe().await, Evidence::Works);
    }
}
