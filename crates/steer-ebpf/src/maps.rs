//! The maps of a steering, by name.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

use aya::maps::{Map, MapData, MapError};

use crate::error::EbpfError;

/// The maps of a steering, each held by a descriptor.
#[derive(Debug, Default)]
pub(crate) struct Maps(BTreeMap<String, OwnedFd>);

impl Maps {
    /// Holds a map.
    pub(crate) fn hold(&mut self, name: impl Into<String>, fd: OwnedFd) {
        self.0.insert(name.into(), fd);
    }

    /// Names and descriptors.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &OwnedFd)> {
        self.0.iter().map(|(name, fd)| (name.as_str(), fd))
    }

    /// Whether a map is held.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The descriptor of a map.
    pub(crate) fn fd(&self, name: &str) -> Result<&OwnedFd, EbpfError> {
        self.0.get(name).ok_or_else(|| EbpfError::Absent {
            name: format!("map {name}"),
        })
    }

    /// A map as one of its kind, keys and values.
    pub(crate) fn view<M>(&self, name: &'static str) -> Result<M, EbpfError>
    where
        M: TryFrom<Map, Error = MapError>,
    {
        let fd = self.fd(name)?.as_fd().try_clone_to_owned();
        let map = fd
            .map_err(MapError::from)
            .and_then(MapData::from_fd)
            .and_then(Map::from_map_data)
            .and_then(M::try_from);
        on(name, map)
    }
}

/// What was done on a map, with its name in the error.
pub(crate) fn on<T>(map: &'static str, done: Result<T, MapError>) -> Result<T, EbpfError> {
    done.map_err(|source| EbpfError::Map { map, source })
}

/// The descriptor of a map that was loaded, of the kinds that the object has.
pub(crate) fn into_fd(map: &Map) -> Option<std::io::Result<OwnedFd>> {
    let data = match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::LpmTrie(data)
        | Map::LruHashMap(data)
        | Map::PerCpuArray(data)
        | Map::RingBuf(data)
        | Map::SkStorage(data)
        | Map::SockMap(data) => data,
        _ => return None,
    };
    Some(data.fd().as_fd().try_clone_to_owned())
}
