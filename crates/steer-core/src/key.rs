//! The keys of an intent that bind a method.

use std::fmt;

use serde::Serialize;

/// Something a user can write that a method either honours or refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Key {
    /// `steer run`: the command and its descendants.
    Command,
    /// `scope.host`
    Host,
    /// `scope.cgroup`
    Cgroup,
    /// `scope.uid`
    Uid,
    /// `scope.gid`
    Gid,
    /// `scope.command`
    CommandName,
    /// `scope.pid`
    Pid,
    /// `scope.interface`
    Interface,
    /// `scope.netns`
    Netns,
    /// `scope.inbound`
    Inbound,
    /// `tcp` among the protocols
    Tcp,
    /// `udp` among the protocols
    Udp,
    /// `traffic.exclude.protocols`
    ExcludeProtocols,
    /// Port lists
    Ports,
    /// CIDR lists
    Cidrs,
    /// `traffic.include.domains`
    IncludeDomains,
    /// `traffic.exclude.domains`
    ExcludeDomains,
    /// `traffic.loopback: skip`
    LoopbackSkip,
    /// `traffic.loopback: steer`
    LoopbackSteer,
    /// `traffic.dns: leave`
    DnsLeave,
    /// `traffic.dns: capture`
    DnsCapture,
    /// `traffic.quic: steer`
    QuicSteer,
    /// `traffic.quic: reject`
    QuicReject,
    /// `traffic.quic: leave`
    QuicLeave,
    /// `on_failure: open`
    Open,
    /// `on_failure: closed`
    Closed,
    /// `forward`
    Forward,
    /// `backend`
    Backend,
    /// `listen.outbound`
    ListenOutbound,
    /// `listen.inbound`
    ListenInbound,
    /// `listen.dns`
    ListenDns,
    /// `listen.external`
    ListenExternal,
    /// `listen.explicit`
    ListenExplicit,
    /// `listen.auth`
    ListenAuth,
    /// `listen.proxy_protocol`
    ListenProxyProtocol,
    /// `mark.steer`
    Mark,
    /// `source: client`
    SourceClient,
    /// `dial`
    Dial,
    /// `netns.host_loopback`
    HostLoopback,
    /// `netns.publish`
    Publish,
    /// `relay: needed`
    RelayNeeded,
    /// `device.mtu`
    DeviceMtu,
    /// `device.queues`
    DeviceQueues,
    /// `device.echo`
    DeviceEcho,
    /// `device.fd`
    DeviceFd,
    /// `device.bridge`
    DeviceBridge,
    /// `device.gateway`
    DeviceGateway,
    /// `device.dhcp`
    DeviceDhcp,
    /// `device.advertise`
    DeviceAdvertise,
    /// `dns.resolver`
    Resolver,
    /// `dns.fake_ip`
    FakeIp,
}

impl Key {
    /// Every key.
    pub const ALL: [Self; 51] = [
        Self::Command,
        Self::Host,
        Self::Cgroup,
        Self::Uid,
        Self::Gid,
        Self::CommandName,
        Self::Pid,
        Self::Interface,
        Self::Netns,
        Self::Inbound,
        Self::Tcp,
        Self::Udp,
        Self::ExcludeProtocols,
        Self::Ports,
        Self::Cidrs,
        Self::IncludeDomains,
        Self::ExcludeDomains,
        Self::LoopbackSkip,
        Self::LoopbackSteer,
        Self::DnsLeave,
        Self::DnsCapture,
        Self::QuicSteer,
        Self::QuicReject,
        Self::QuicLeave,
        Self::Open,
        Self::Closed,
        Self::Forward,
        Self::Backend,
        Self::ListenOutbound,
        Self::ListenInbound,
        Self::ListenDns,
        Self::ListenExternal,
        Self::ListenExplicit,
        Self::ListenAuth,
        Self::ListenProxyProtocol,
        Self::Mark,
        Self::SourceClient,
        Self::Dial,
        Self::HostLoopback,
        Self::Publish,
        Self::RelayNeeded,
        Self::DeviceMtu,
        Self::DeviceQueues,
        Self::DeviceEcho,
        Self::DeviceFd,
        Self::DeviceBridge,
        Self::DeviceGateway,
        Self::DeviceDhcp,
        Self::DeviceAdvertise,
        Self::Resolver,
        Self::FakeIp,
    ];
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Command => "run -- COMMAND",
            Self::Host => "scope.host",
            Self::Cgroup => "scope.cgroup",
            Self::Uid => "scope.uid",
            Self::Gid => "scope.gid",
            Self::CommandName => "scope.command",
            Self::Pid => "scope.pid",
            Self::Interface => "scope.interface",
            Self::Netns => "scope.netns",
            Self::Inbound => "scope.inbound",
            Self::Tcp => "traffic.include.protocols: tcp",
            Self::Udp => "traffic.include.protocols: udp",
            Self::ExcludeProtocols => "traffic.exclude.protocols",
            Self::Ports => "traffic ports",
            Self::Cidrs => "traffic cidrs",
            Self::IncludeDomains => "traffic.include.domains",
            Self::ExcludeDomains => "traffic.exclude.domains",
            Self::LoopbackSkip => "traffic.loopback: skip",
            Self::LoopbackSteer => "traffic.loopback: steer",
            Self::DnsLeave => "traffic.dns: leave",
            Self::DnsCapture => "traffic.dns: capture",
            Self::QuicSteer => "traffic.quic: steer",
            Self::QuicReject => "traffic.quic: reject",
            Self::QuicLeave => "traffic.quic: leave",
            Self::Open => "on_failure: open",
            Self::Closed => "on_failure: closed",
            Self::Forward => "forward",
            Self::Backend => "backend",
            Self::ListenOutbound => "listen.outbound",
            Self::ListenExternal => "listen.external",
            Self::ListenExplicit => "listen.explicit",
            Self::ListenAuth => "listen.auth",
            Self::ListenProxyProtocol => "listen.proxy_protocol",
            Self::ListenInbound => "listen.inbound",
            Self::ListenDns => "listen.dns",
            Self::Mark => "mark.steer",
            Self::SourceClient => "source: client",
            Self::Dial => "dial",
            Self::HostLoopback => "netns.host_loopback",
            Self::Publish => "netns.publish",
            Self::RelayNeeded => "relay: needed",
            Self::DeviceMtu => "device.mtu",
            Self::DeviceQueues => "device.queues",
            Self::DeviceEcho => "device.echo",
            Self::DeviceFd => "device.fd",
            Self::DeviceBridge => "device.bridge",
            Self::DeviceGateway => "device.gateway",
            Self::DeviceDhcp => "device.dhcp",
            Self::DeviceAdvertise => "device.advertise",
            Self::Resolver => "dns.resolver",
            Self::FakeIp => "dns.fake_ip",
        })
    }
}
