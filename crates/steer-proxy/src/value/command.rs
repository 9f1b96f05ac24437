//! Values that programs print.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command as Process};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use zeroize::Zeroizing;

use super::error::{MOST, Unsendable, ValueError};
use super::text::Text;

/// A value that a program prints.
pub(super) struct Command {
    argv: Vec<String>,
    lifetime: Duration,
    /// What the last run gave, and until when that holds. Held while the program runs, so that it
    /// runs once for all who wait.
    last: Mutex<Option<(Instant, Result<Text, ValueError>)>>,
}

impl Command {
    /// Looks for the program, without running it.
    pub(super) fn new(argv: &[String], lifetime: Duration) -> Result<Self, ValueError> {
        let program = argv.first().map(String::as_str).unwrap_or_default();
        if !is_there(program) {
            return Err(ValueError::Program(program.to_owned()));
        }
        Ok(Self {
            argv: argv.to_vec(),
            lifetime,
            last: Mutex::default(),
        })
    }

    /// What the program printed, where its lifetime is not over, else what it prints when run.
    pub(super) async fn get(&self) -> Result<Text, ValueError> {
        let mut last = self.last.lock().await;
        if let Some((until, given)) = &*last
            && Instant::now() < *until
        {
            return given.clone();
        }
        *last = None;
        // From its start: what it prints can be as old as that.
        let begun = Instant::now();
        let given = run(&self.argv).await;
        let until = match &given {
            Ok(_) => begun + self.lifetime,
            Err(_) => Instant::now() + FAILED,
        };
        *last = Some((until, given.clone()));
        given
    }
}

async fn run(argv: &[String]) -> Result<Text, ValueError> {
    let program = argv[0].clone();
    let failed = |source| ValueError::Run {
        program: program.clone(),
        source: Arc::new(source),
    };
    let child = Process::new(&argv[0])
        .args(&argv[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A group of its own, so that what it has started is killed with it.
        .process_group(0)
        .spawn()
        .map_err(failed)?;
    let mut group = Group(child);
    let child = &mut group.0;
    let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
    let work = async {
        let heard = tokio::join!(read(out.as_mut(), MOST + 2), read(err.as_mut(), SAID));
        (heard, child.wait().await)
    };
    let Ok(((printed, said), ended)) = timeout(LIMIT, work).await else {
        tracing::warn!(%program, "a program that gives a value was killed: it took too long");
        return Err(ValueError::Slow {
            program,
            limit: LIMIT,
        });
    };
    let status = ended.map_err(failed)?;
    let said = said.map_err(failed)?;
    let said = String::from_utf8_lossy(&said.0);
    let said = said.trim_end();
    if !status.success() {
        tracing::warn!(%program, %status, said, "a program that gives a value failed");
        return Err(ValueError::Failed { program, status });
    }
    if !said.is_empty() {
        tracing::debug!(%program, said, "a program that gives a value has something to say");
    }
    let (mut printed, is_whole) = printed.map_err(failed)?;
    let text = if is_whole {
        Text::found(std::mem::take(&mut *printed))
    } else {
        Err(Unsendable::Long)
    };
    text.map_err(|source| ValueError::Printed { program, source })
}

/// Reads to the end, keeps `most` bytes, and tells whether these are all.
async fn read(
    from: Option<&mut (impl AsyncRead + Unpin)>,
    most: usize,
) -> std::io::Result<(Zeroizing<Vec<u8>>, bool)> {
    // Of the largest size at once: a buffer that grows leaves what it held behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(most + 1));
    let Some(from) = from else {
        return Ok((bytes, true));
    };
    let mut within = from.take(most as u64);
    while within.read_buf(&mut *bytes).await? > 0 {
        if bytes.len() == most {
            break;
        }
    }
    let mut rest = Zeroizing::new([0; 1024]);
    let from = within.into_inner();
    let mut is_whole = true;
    while from.read(&mut *rest).await? > 0 {
        is_whole = false;
    }
    Ok((bytes, is_whole))
}

/// A program, killed with all of its group where it is no longer waited for.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // None where it has been waited for: the number may be another's.
        let Some(id) = self.0.id().and_then(|id| i32::try_from(id).ok()) else {
            return;
        };
        // Its end is then noted by the runtime. It may have gone by itself.
        let _gone = killpg(Pid::from_raw(id), Signal::SIGKILL);
    }
}

/// Whether a name is that of a program that can be run, as `execvp` looks for it.
fn is_there(program: &str) -> bool {
    let can_run = |path: &Path| {
        let about = path.metadata();
        about.is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        return can_run(Path::new(program));
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    !program.is_empty() && std::env::split_paths(&path).any(|dir| can_run(&dir.join(program)))
}

/// How long a program may take.
const LIMIT: Duration = Duration::from_secs(10);
/// How long a failure stands, so that a burst of requests is one run.
const FAILED: Duration = Duration::from_secs(1);
/// How much of what a program says on its standard error is kept for the log.
const SAID: usize = 4096;
