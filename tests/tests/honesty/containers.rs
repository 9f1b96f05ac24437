//! Containers: their programs are the container engine's, and run in its namespaces.

use lab::{Container, Program};

use crate::scene::{Scene, User, Way};

/// `steer run` of a program in a container that idles beside it.
fn exec(scene: &Scene, container: &Container) -> Program {
    let url = format!("http://{}/x", scene.at);
    let exec = [
        "podman",
        "exec",
        container.name(),
        "wget",
        "-q",
        "-O-",
        &url,
    ];
    let variables = container.variables().into_iter();
    variables
        .fold(scene.run(&[]), |run, (name, value)| run.env(name, value))
        .args(exec)
}

#[test]
fn what_a_container_sends_for_the_command_is_steered_or_not_sent() {
    lab::require!(Root, Program("podman"), Program("runc"), Program("busybox"));
    for way in [Way::Netns, Way::Seccomp, Way::Preload] {
        let scene = Scene::new("container", way, User::Root);
        let container = Container::start(&scene.site.app, "honesty");
        let url = format!("http://{}/x", scene.at);
        // It gets there without us.
        let direct = container.program(["wget", "-q", "-O-", &url]).run();
        assert!(direct.expect_success().contains("GET /x"));
        let wire = scene.site.witness();
        let output = exec(&scene, &container).run();
        let connects = scene.connects(&wire).len();
        if output.stdout.contains("GET /x") {
            // The one connection is the engine's.
            scene.site.records().wait_to(scene.at);
            assert_eq!(connects, 1, "{output:#?}");
        } else {
            assert_eq!(connects, 0, "{output:#?}");
        }
    }
}

#[test]
fn plans_name_the_daemons_that_would_act_for_the_command() {
    lab::require!(Namespaces);
    Scene::each("plan", &Way::ALL, |scene| {
        let plan = scene.plan();
        let words = match scene.way {
            Way::Netns => "containers and machines would be started outside",
            Way::Seccomp | Way::Preload => {
                "unix sockets (resolvers, container engines) are not looked at"
            }
            Way::Env => "all else goes direct",
        };
        assert!(plan.contains(words), "{}: {plan}", scene.way.name());
    });
}
