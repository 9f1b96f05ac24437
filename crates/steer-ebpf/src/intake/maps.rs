//! The maps that the programs and the engine share.

use std::io;
use std::sync::Arc;

use aya::maps::{Map, MapData, MapError};
use steer_core::intake::Shared;

/// Descriptors of the maps, by name.
#[derive(Clone, Debug)]
pub(super) struct Maps(Arc<Vec<Shared>>);

impl Maps {
    /// What a driver has shared.
    pub(super) fn new(shared: Vec<Shared>) -> Self {
        Self(Arc::new(shared))
    }

    /// A map of its own descriptor.
    ///
    /// # Errors
    /// The driver has not shared it, or the kernel does not let us ask about it.
    pub(super) fn open(&self, name: &str) -> io::Result<Map> {
        let data = self.data(name)?;
        Map::from_map_data(data).map_err(io::Error::other)
    }

    /// A number that no other map of the host has while this one lives.
    pub(super) fn id(&self, name: &str) -> io::Result<u32> {
        let info = self.data(name)?.info().map_err(io::Error::other)?;
        Ok(info.id())
    }

    fn data(&self, name: &str) -> io::Result<MapData> {
        let shared = self.0.iter().find(|shared| shared.label == name);
        let missing = || io::Error::new(io::ErrorKind::NotFound, format!("no map {name}"));
        let fd = shared.ok_or_else(missing)?.fd.try_clone()?;
        MapData::from_fd(fd).map_err(io::Error::other)
    }
}

/// An answer of a map in which there is no such key.
pub(super) fn found<T>(answer: Result<T, MapError>) -> io::Result<Option<T>> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(MapError::KeyNotFound) => Ok(None),
        Err(MapError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => {
            Ok(None)
        }
        Err(error) => Err(io::Error::other(error)),
    }
}
