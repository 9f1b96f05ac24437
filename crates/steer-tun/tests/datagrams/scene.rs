//! A namespace whose only way to anywhere is a device, and a server behind it that only marked sockets
//! reach.

use std::net::{IpAddr, SocketAddr};

use lab::{Host, Lab};
use steer_core::address::{Family, Protocol};
use steer_core::driver::{Change, Driver};
use steer_core::instance::Instance;
use steer_core::intake::Bound;
use steer_core::intent::{Echo, Intent, Scope};
use steer_core::listen;
use steer_core::mark::Mark;
use steer_core::method::Method;
use steer_core::object::{Binding, Device, Layer, Listener, Object, device_address, device_net};
use steer_core::plan::Netns;
use steer_core::symbol::ListenerId;
use steer_kernel::device::DeviceDriver;

use crate::engine::Engine;

/// Programs, a device, an engine, and what is beyond.
pub(crate) struct Scene {
    pub(crate) app: Host,
    pub(crate) engine: Engine,
    /// Where [`beyond`] is, through a router.
    pub(crate) _far: [Host; 2],
    _driver: DeviceDriver,
}

impl Scene {
    /// What becomes of echo requests is written as `echo`.
    pub(crate) fn new(echo: Option<Echo>, mtu: u32) -> Self {
        let lab = Lab::new("dgram");
        let (app, router, far) = (lab.host("app"), lab.router("router"), lab.host("far"));
        lab.link(&app, &router);
        let (_, at_far) = lab.link(&router, &far);
        for family in Family::ALL {
            app.add_address(client(family));
            far.add_address(beyond(family));
            let near = router.uplink();
            let (dash, gateway, to) = match family {
                Family::V4 => ("-4", near.v4.to_string(), at_far.v4.to_string()),
                Family::V6 => ("-6", near.v6.to_string(), at_far.v6.to_string()),
            };
            let beyond = beyond(family).to_string();
            app.ip(&[
                dash, "route", "add", "default", "via", &gateway, "table", "77",
            ]);
            let mark = format!("{:#x}/{:#x}", Mark::BYPASS.value, Mark::BYPASS.mask);
            app.ip(&[dash, "rule", "add", "fwmark", &mark, "lookup", "77"]);
            router.ip(&[dash, "route", "replace", &beyond, "via", &to]);
        }
        let address = |family| (device_address(family), device_net(family).prefix());
        let device = Device {
            name: "tun-dgram".to_owned(),
            layer: Layer::Ip,
            mtu,
            addresses: Family::ALL.map(address).to_vec(),
            queues: 1,
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
        let netns = Netns::Path(app.namespace_path().to_str().unwrap().to_owned());
        let instance = Instance::new("dgram").unwrap();
        let (port, sockets) = app.enter(|| listen::listen(&listener)).unwrap();
        let change = Change {
            instance: &instance,
            netns: &netns,
            from: &[],
            to: &[Object::Device(device)],
        };
        driver.set(&change).unwrap();
        for family in Family::ALL {
            let source = client(family).to_string();
            let dash = match family {
                Family::V4 => "-4",
                Family::V6 => "-6",
            };
            app.ip(&[
                dash,
                "route",
                "replace",
                "default",
                "dev",
                "tun-dgram",
                "src",
                &source,
            ]);
        }
        let mut intent = Intent::new(instance.clone(), Scope::command());
        intent.link.mtu = Some(mtu);
        intent.link.echo = echo;
        let bound = Bound {
            listener: Listener {
                port: Some(port),
                ..listener
            },
            netns,
            sockets,
            inside: None,
            shared: driver.shared().unwrap(),
        };
        let engine = app.enter(|| Engine::start(&intent, bound));
        Self {
            app,
            engine,
            _far: [router, far],
            _driver: driver,
        }
    }
}

/// The address of the programs.
pub(crate) fn client(family: Family) -> IpAddr {
    match family {
        Family::V4 => "10.9.0.2".parse().unwrap(),
        Family::V6 => "fd00:9::2".parse().unwrap(),
    }
}

/// An address that somebody has, behind a router.
pub(crate) fn beyond(family: Family) -> IpAddr {
    match family {
        Family::V4 => "198.51.100.7".parse().unwrap(),
        Family::V6 => "2001:db8:1::7".parse().unwrap(),
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
