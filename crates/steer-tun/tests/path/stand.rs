//! A namespace whose only way to anywhere is a device that is read by a path.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use lab::{Host, Lab};
use nix::libc;
use steer_core::address::{Family, Protocol};
use steer_core::driver::{Change, Driver};
use steer_core::instance::Instance;
use steer_core::intake::{Bound, Shared};
use steer_core::intent::{Intent, Scope};
use steer_core::listen;
use steer_core::method::Method;
use steer_core::object::{Binding, Device, Layer, Listener, Object, device_address, device_net};
use steer_core::plan::Netns;
use steer_core::symbol::ListenerId;
use steer_kernel::device::DeviceDriver;

use crate::engine::Engine;
use crate::sys;

/// The ways in which packets come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// One device for clients and listeners.
    One,
    /// Clients' packets come by a descriptor that was handed in.
    Handed,
    /// As above, of a device without offloads.
    Plain,
    /// Clients are behind a device with a link layer.
    Tap,
}

impl Link {
    pub(crate) const ALL: [Self; 4] = [Self::One, Self::Handed, Self::Plain, Self::Tap];
}

/// A namespace with programs, a device, and an engine that takes what comes by it.
pub(crate) struct Stand {
    pub(crate) app: Host,
    pub(crate) engine: Engine,
    driver: DeviceDriver,
    devices: Vec<Object>,
    _handed: Option<OwnedFd>,
}

impl Stand {
    pub(crate) fn new(link: Link, mtu: u32) -> Self {
        Self::with_queues(link, mtu, 1)
    }

    pub(crate) fn with_queues(link: Link, mtu: u32, queues: u16) -> Self {
        let app = Lab::new("path").host("app");
        for family in Family::ALL {
            app.add_address(client(family));
        }
        Self::within(app, link, mtu, queues)
    }

    /// Another engine, with another device, in the place of this one.
    pub(crate) fn begin_again(&mut self) {
        self.remove();
        *self = Self::within(self.app.clone(), Link::One, 1500, 1);
    }

    fn within(app: Host, link: Link, mtu: u32, queues: u16) -> Self {
        let address = |family| (device_address(family), device_net(family).prefix());
        let inner = Device {
            name: "tun-path".to_owned(),
            layer: Layer::Ip,
            mtu,
            addresses: Family::ALL.map(address).to_vec(),
            queues,
            bridge: None,
            forwards: false,
        };
        let mut driver = DeviceDriver::new();
        let listener = Listener {
            id: ListenerId("outbound".to_owned()),
            method: Method::Tun,
            protocol: Protocol::Tcp,
            addresses: Family::ALL.map(device_address).to_vec(),
            port: None,
            to: None,
            binding: Binding::Device,
            app: None,
        };
        let (port, sockets) = app.enter(|| listen::listen(&listener)).unwrap();
        let outer = Device {
            name: "tap-path".to_owned(),
            layer: Layer::Ethernet,
            addresses: vec![("fe80::2".parse().unwrap(), 64)],
            ..inner.clone()
        };
        let mut devices = vec![Object::Device(inner)];
        devices.extend((link == Link::Tap).then_some(Object::Device(outer)));
        change(&mut driver, &app, &[], &devices);
        let mut intent = Intent::new(instance(), Scope::command());
        intent.link.mtu = Some(mtu);
        let (name, handed) = match link {
            Link::One => ("tun-path", None),
            Link::Tap => ("tap-path", None),
            Link::Handed => ("handed", Some(libc::IFF_VNET_HDR)),
            Link::Plain => ("handed", Some(0)),
        };
        let handed = handed.map(|flags| app.enter(|| sys::tun(name, flags)));
        intent.link.fd = handed.as_ref().map(AsRawFd::as_raw_fd);
        if handed.is_some() {
            app.ip(&["link", "set", name, "mtu", &mtu.to_string(), "up"]);
        }
        for family in Family::ALL {
            let source = client(family).to_string();
            let (dash, gateway) = match family {
                Family::V4 => ("-4", "192.0.0.66"),
                Family::V6 => ("-6", "fe80::1"),
            };
            let mut words = vec![dash, "route", "add", "default", "dev", name, "src", &source];
            if link == Link::Tap {
                words.extend(["via", gateway, "onlink"]);
            }
            app.ip(&words);
        }
        let bound = Bound {
            listener: Listener {
                port: Some(port),
                ..listener
            },
            netns: netns(&app),
            sockets,
            inside: None,
            shared: driver.shared().unwrap(),
        };
        let engine = app.enter(|| Engine::start(&intent, bound));
        Self {
            app,
            engine,
            driver,
            devices,
            _handed: handed,
        }
    }

    /// Descriptors of the devices.
    pub(crate) fn shared(&self) -> Vec<Shared> {
        self.driver.shared().unwrap()
    }

    /// Removes the device, as an engine that ends does.
    pub(crate) fn remove(&mut self) {
        change(&mut self.driver, &self.app, &self.devices, &[]);
    }
}

/// The address of the programs.
pub(crate) fn client(family: Family) -> IpAddr {
    match family {
        Family::V4 => "10.9.0.2".parse().unwrap(),
        Family::V6 => "fd00:9::2".parse().unwrap(),
    }
}

/// Somewhere.
pub(crate) fn at(family: Family, port: u16) -> SocketAddr {
    let ip: IpAddr = match family {
        Family::V4 => "203.0.113.7".parse().unwrap(),
        Family::V6 => "2001:db8::7".parse().unwrap(),
    };
    SocketAddr::new(ip, port)
}

/// Waits until something is so.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn change(driver: &mut DeviceDriver, app: &Host, from: &[Object], to: &[Object]) {
    let change = Change {
        instance: &instance(),
        netns: &netns(app),
        from,
        to,
    };
    driver.set(&change).unwrap();
}

fn netns(app: &Host) -> Netns {
    Netns::Path(app.namespace_path().to_str().unwrap().to_owned())
}

fn instance() -> Instance {
    Instance::new("path").unwrap()
}
