//! What this program is when a test starts it.

use std::io::{BufRead, Read};
use std::net::TcpListener;
use std::os::fd::AsFd;

use steer_core::keeper::Job;
use steer_core::netns::Held;
use steer_core::plan::Life;
use steer_kernel::device::DeviceDriver;
use steer_kernel::drivers::Drivers;
use steer_kernel::journal::RunDir;
use steer_kernel::keeper;
use steer_kernel::nft::NftDriver;
use steer_kernel::route::RouteDriver;

use crate::PORT;

/// An engine: accepts and holds connections, and does what lines on its input say.
pub(crate) fn engine() -> ! {
    let file = std::env::args().nth(1).unwrap();
    let job: Job = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let mut keeper = match keeper::spawn() {
        Ok(keeper) => keeper,
        Err(error) => fail(&error),
    };
    let places = job.objects.iter().map(|planned| &planned.netns);
    let _held: Vec<_> = places.map(|netns| Held::of(netns).unwrap()).collect();
    println!("started");
    if std::env::args().nth(2).is_some() {
        std::io::stdin().read_line(&mut String::new()).unwrap();
    }
    keeper.await_predecessors().unwrap();
    // Where another engine has the port, the keeper has something to say on that.
    if let Ok(listener) = TcpListener::bind(("0.0.0.0", PORT)) {
        keeper.hold(&[listener.as_fd()]).unwrap();
        std::thread::spawn(move || {
            let mut held = Vec::new();
            while let Ok((stream, _)) = listener.accept() {
                let linger = nix::libc::linger {
                    l_onoff: 1,
                    l_linger: 0,
                };
                nix::sys::socket::setsockopt(&stream, nix::sys::socket::sockopt::Linger, &linger)
                    .unwrap();
                println!("accepted");
                held.push(stream);
            }
        });
    }
    if let Err(error) = keeper.commit(&job) {
        fail(&error);
    }
    let mut lost = keeper.lost().unwrap().unwrap();
    std::thread::spawn(move || {
        assert_eq!(lost.read(&mut [0]).unwrap(), 0);
        println!("lost");
    });
    println!("engaged");
    for line in std::io::stdin().lock().lines() {
        match line.unwrap().as_str() {
            "restore" => keeper.restore().unwrap(),
            "retire" => keeper.retire().unwrap(),
            "commit" => {
                if let Err(error) = keeper.commit(&job) {
                    println!("refused: {error}; help: {}", error.help());
                }
            }
            "swap" => {
                let mut next = job.clone();
                next.objects.retain(|planned| planned.life == Life::Steer);
                keeper.commit(&next).unwrap();
            }
            // As whoever learns late of a keeper's end that somebody else has acted on.
            "commit and restore" => {
                keeper.commit(&job).unwrap();
                keeper.restore().unwrap();
            }
            // Another keeper, which keeps nothing; the engine goes on.
            "drop" => keeper = keeper::spawn().unwrap(),
            "release" => match keeper.release() {
                Ok(released) => println!("released {released:?}"),
                Err(error) => fail(&error),
            },
            other => panic!("{other}"),
        }
        println!("done");
    }
    std::process::exit(0)
}

fn fail(error: &steer_core::keeper::KeeperError) -> ! {
    println!("error: {error}; help: {}", error.help());
    std::process::exit(1)
}

/// `clean`, without cgroups: those are the machine's, and other tests run beside.
pub(crate) fn clean() -> ! {
    let reach = match std::env::args().nth(1).as_deref() {
        Some("all") => keeper::Reach::All,
        _ => keeper::Reach::Dead,
    };
    let mut drivers = Drivers::new(vec![
        Box::new(RouteDriver::new()),
        Box::new(DeviceDriver::new()),
        Box::new(NftDriver::new()),
    ]);
    let cleaned = keeper::clean(&mut drivers, &RunDir::find().unwrap(), reach).unwrap();
    print!("{cleaned}");
    std::process::exit(i32::from(!cleaned.failures.is_empty()))
}

/// A program that starts keepers and has not called [`keeper::entry`].
pub(crate) fn without_entry() -> ! {
    let job = crate::stage::job("main", steer_core::intent::OnFailure::Open);
    let error = keeper::spawn().unwrap().commit(&job).unwrap_err();
    println!("error: {error}");
    std::process::exit(3)
}
