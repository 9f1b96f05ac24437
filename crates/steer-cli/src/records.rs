//! Where the engine's records go.

use std::io;

use steer::core::config::{Log, LogFormat, LogTarget, RequestLog};
use steer::proxy::record::{Format, Recorder};

use crate::failure::Failure;

/// What writes the records that the config asks for.
pub(crate) fn recorder(log: &Log) -> Result<Recorder, Failure> {
    let Log {
        connections,
        requests,
        format,
    } = log;
    let recorder = match connections {
        LogTarget::None => Ok(Recorder::none()),
        LogTarget::Stdout => Recorder::stdout(),
        LogTarget::Stderr => Recorder::to(io::stderr()),
        LogTarget::File(path) => Recorder::file(path),
    }
    .map_err(|error| Failure::new(&error, error.help()))?;
    let recorder = recorder.format(match format {
        LogFormat::Json => Format::Json,
        LogFormat::Text => Format::Text,
    });
    Ok(match requests {
        RequestLog::Same => recorder,
        RequestLog::None => recorder.without_requests(),
    })
}

/// What writes the records of another config, where it takes another one than before.
pub(crate) fn next(before: &Log, log: &Log) -> Result<Option<Recorder>, Failure> {
    match log.connections {
        // Whoever has moved the file away wants another one.
        LogTarget::File(_) => recorder(log).map(Some),
        _ if log != before => recorder(log).map(Some),
        _ => Ok(None),
    }
}
