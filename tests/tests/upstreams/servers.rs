//! Servers of others, in the place of an upstream.

use lab::{Family, Proc, Program, eventually};

use crate::site::Site;

/// Starts HAProxy on the servers' host, and waits for a port of it.
pub(crate) fn haproxy(site: &Site, sections: &str, port: u16) -> Proc {
    let config = site.write(
        "haproxy.cfg",
        &format!(
            "global\n    maxconn 100\ndefaults\n    timeout connect 10s\n    timeout client 60s\n\
             \x20   timeout server 60s\n{sections}"
        ),
    );
    let program = site.srv.program("haproxy").args(["-db", "-f"]).arg(config);
    listening(site, program, port)
}

/// Starts nginx on the servers' host, and waits for a port of it.
pub(crate) fn nginx(site: &Site, stream: &str, port: u16) -> Proc {
    let folder = site.path("nginx");
    std::fs::create_dir_all(&folder).expect("the folder is ours");
    let config = site.write(
        "nginx.conf",
        &format!(
            "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\ndaemon off;\nuser root;\n\
             pid {0}/pid;\nerror_log {0}/errors;\nevents {{}}\nstream {{\n{stream}\n}}\n",
            folder.display()
        ),
    );
    let program = site.srv.program("nginx").arg("-p").arg(folder);
    listening(site, program.arg("-c").arg(config), port)
}

fn listening(site: &Site, program: Program, port: u16) -> Proc {
    let proc = program.spawn();
    eventually("the server listens", || {
        assert!(proc.is_running(), "{proc:#?}");
        site.srv.connect(site.srv.at(Family::V4, port)).ok()
    });
    proc
}
