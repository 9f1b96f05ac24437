//! What is known of names: the memory of answers, and the seam to a DNS conversation.

use std::fmt;
use std::net::IpAddr;

use async_trait::async_trait;

use crate::address::HostName;

/// Tells which name an address stands for.
pub trait Names: fmt::Debug + Send + Sync {
    /// What the client that dials an address means by it.
    fn lookup(&self, client: IpAddr, address: IpAddr) -> Meaning;
}

/// What an address stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Nothing is known: the address is all there is.
    Unknown,
    /// The client got this address as the answer for the name.
    Answered(HostName),
    /// The address was made up for the name; it leads nowhere by itself.
    Fake(HostName),
    /// The address is of those that are made up, and stands for no name: it must not be dialled.
    Dead,
}

/// Takes part in the DNS conversations that were steered. Messages are without the length that
/// goes before them on TCP.
///
/// Nothing here waits or does input and output, except as the engine asks for it.
pub trait Conversation: fmt::Debug + Send + Sync {
    /// What becomes of a client's query.
    fn query(&self, client: IpAddr, transport: Transport, query: &[u8]) -> Query;

    /// What becomes of the resolver's answer to a query that was forwarded.
    fn answer(
        &self,
        client: IpAddr,
        transport: Transport,
        query: &[u8],
        answer: &[u8],
    ) -> ResolverAnswer;

    /// What an answer that is delivered says of the addresses of the name that was asked for;
    /// `None` where it says nothing of addresses.
    fn learned(&self, query: &[u8], answer: &[u8]) -> Option<Learned>;
}

/// What an answer says of a name's addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Learned {
    /// The name that was asked for.
    pub name: HostName,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// Has the rules follow the addresses of names, before a program can use them.
#[async_trait]
pub trait Follower: fmt::Debug + Send + Sync {
    /// Returns when the rules know what was learned, or need not know it.
    ///
    /// # Errors
    /// They could not come to know it in a bounded time: a program that got the addresses could
    /// get past them.
    async fn learned(&self, learned: &Learned) -> Result<(), NotFollowed>;
}

/// The rules do not know the addresses of a name, which must not be told therefore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the rules do not know the addresses")]
pub struct NotFollowed;

/// How DNS messages travel, which bounds their size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// One message a datagram, at most as large as the client says (RFC 6891), else 512 bytes.
    Udp,
    /// At most 65,535 bytes.
    Tcp,
}

/// What becomes of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// This is the answer; nobody is asked.
    Answer(Vec<u8>),
    /// The resolver is asked this.
    Forward(Vec<u8>),
    /// It is no query: nothing is sent, and why.
    Drop(&'static str),
}

/// What becomes of a resolver's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResolverAnswer {
    /// The client gets this.
    Deliver(Vec<u8>),
    /// It answers another question, or nothing can be made of it: the wait goes on, and why.
    Ignore(&'static str),
}
