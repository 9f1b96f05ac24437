//! Processes that leave their session, or outlive the command.

use std::fs;
use std::io::Write as _;

use lab::{Program, Status};

use crate::scene::{Scene, Way};

#[test]
fn whoever_leaves_the_session_is_steered_all_the_same() {
    lab::require!(Namespaces, Program("python3"));
    Scene::each("session", &Way::ALL, |scene| {
        let wire = scene.site.witness();
        let code = "r, w = os.pipe()\n\
                    if os.fork() == 0:\n  os.setsid()\n  \
                    if os.fork() == 0: os.write(w, ask().encode())\n  os._exit(0)\n\
                    os.close(w); print(os.fdopen(r).read())";
        let said = scene.run(&[]).args(scene.python(code)).run();
        assert!(said.expect_success().contains("GET /x"));
        let record = scene.site.records().wait_to(scene.at);
        assert_eq!(record["method"], scene.way.name());
        // The engine's own.
        assert_eq!(scene.connects(&wire).len(), 1);
    });
}

#[test]
fn a_daemon_that_outlives_the_command_gets_nothing_out() {
    lab::require!(Namespaces, Program("python3"), Program("mkfifo"));
    Scene::each("daemon", &Way::ALL, |scene| {
        let (gate, told) = (scene.site.path("gate"), scene.site.path("told"));
        let fifo = Program::new("mkfifo").args(["-m", "666"]).arg(&gate);
        fifo.run().expect_success();
        let code = format!(
            "import signal\n\
             if os.fork() == 0:\n  os.setsid()\n  \
               if os.fork(): os._exit(0)\n  \
               signal.alarm(60)\n  \
               null = os.open('/dev/null', os.O_RDWR)\n  \
               for n in range(3): os.dup2(null, n)\n  \
               open('{gate}').read()\n  \
               try: said = connect()\n  \
               except OSError as e: said = type(e).__name__ + ' ' + str(e)\n  \
               open('{told}.new', 'w').write(said); os.rename('{told}.new', '{told}')\n  \
               os._exit(0)\n",
            gate = gate.display(),
            told = told.display(),
        );
        let wire = scene.site.witness();
        let output = scene.run(&[]).args(scene.python(&code)).run();
        assert_eq!(output.status, Status::Exited(0), "{output:#?}");
        // The daemon connects when nobody is left who would carry it.
        let mut open = fs::File::create(&gate).expect("the daemon reads");
        open.write_all(b"go").expect("the daemon reads");
        drop(open);
        let said = lab::eventually("the daemon says how it ended", || {
            fs::read_to_string(&told).ok()
        });
        if scene.way.is_transparent() {
            assert!(said.contains("Error"), "{said}");
            assert_eq!(scene.connects(&wire), []);
        } else {
            assert!(said.starts_with("HTTP/1."), "{said}");
            let plan = scene.plan();
            assert!(plan.contains("all else goes direct"), "{plan}");
        }
    });
}
