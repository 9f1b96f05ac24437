//! What comes to a namespace.

use steer_core::intent::OnFailure;
use steer_core::key::Key;
use steer_core::object::Lookup;

use super::{Filter, FilterError, Part, nets, ports};
use crate::abi::{DO_CLOSED, DO_NETS, DO_TAKE, Inbound, NET_MEANT};

impl Filter<Inbound> {
    /// What a lookup asks for.
    pub(crate) fn inbound(lookup: &Lookup) -> Result<Self, FilterError> {
        let Lookup {
            ports: included,
            except,
            from,
            port: _,
            families: _,
            on_failure,
            takes,
        } = lookup;
        let flags = [
            (*takes, DO_TAKE),
            (*on_failure == OnFailure::Closed, DO_CLOSED),
            (!from.is_empty(), DO_NETS),
        ];
        Ok(Self {
            config: Inbound {
                flags: super::outbound::sum(&flags),
                unused: 0,
            },
            ports: ports::ports(included, except),
            nets: nets::nets(
                Part::Traffic(Key::Cidrs),
                from.iter().map(|net| (*net, NET_MEANT)),
            )?,
        })
    }
}
