//! Many connections.

use lab::{Client, Family, Service};

use crate::scene::{BOTH, Scene};

fn ask(client: &mut Client, number: usize) {
    let word = number.to_be_bytes();
    client.send(&word).expect("the connection stands");
    assert_eq!(client.receive(word.len()).as_deref(), Ok(&word[..]));
}

#[test]
fn ten_thousand_connections_one_after_another_are_each_served() {
    const MANY: usize = 10_000;
    lab::require!(Namespaces, Path("/dev/net/tun"));
    for mount in BOTH {
        let scene = Scene::new("sequence", mount, "");
        let _server = scene.stage.srv.serve(7, Service::Echo);
        let to = Family::BOTH.map(|family| scene.stage.at(family, 7));
        scene.stage.app.enter(|| {
            for number in 0..MANY {
                let client = Client::connect(to[number % 2]);
                let mut client = client.unwrap_or_else(|why| panic!("{number}: {why:?}"));
                ask(&mut client, number);
            }
        });
        let records = scene.rig.finish();
        assert_eq!(records.len(), MANY, "{mount:?}");
        let odd = records.iter().find(|record| record["outcome"] != "ok");
        assert_eq!(odd, None, "{mount:?}");
    }
}

#[test]
fn two_thousand_connections_at_once_are_each_served() {
    const MANY: usize = 2000;
    lab::require!(Namespaces, Path("/dev/net/tun"));
    for mount in BOTH {
        let scene = Scene::new("atonce", mount, "");
        let _server = scene.stage.srv.serve(7, Service::Echo);
        let mut clients: Vec<Client> = Vec::new();
        for family in Family::BOTH {
            clients.extend(scene.rig.connect_many(MANY / 2, scene.stage.at(family, 7)));
        }
        for (number, client) in clients.iter_mut().enumerate() {
            ask(client, number);
        }
        drop(clients);
        let records = scene.rig.finish();
        assert_eq!(records.len(), MANY, "{mount:?}");
        let odd = records.iter().find(|record| record["outcome"] != "ok");
        assert_eq!(odd, None, "{mount:?}");
    }
}
