//! Where the command's traffic goes.

use crate::{USERS, python};

#[rustfmt::skip]
const ASK: &str = r#"
import socket, sys
for kind, word in ((socket.SOCK_STREAM, 'tcp'), (socket.SOCK_DGRAM, 'udp')):
    for family, to, source in ((socket.AF_INET, '192.0.2.7', '198.18.0.1'),
                               (socket.AF_INET, '127.0.0.53', None),
                               (socket.AF_INET6, '2001:db8::7', 'fd5e:7ee2::1')):
        s = socket.socket(family, kind)
        s.settimeout(10)
        try:
            s.connect((to, 4321))
            if kind == socket.SOCK_DGRAM: s.send(b'x')
            said = s.recv(100).decode().strip()
        except ConnectionRefusedError:
            said = 'refused'
        at = f'[{to}]:4321' if ':' in to else f'{to}:4321'
        wanted = f'{word} {at} from {source}' if source else 'refused'
        assert said == wanted, (said, wanted)
print('all')
"#;

pub(crate) fn every_destination_comes_to_the_engine_with_its_address() {
    for user in USERS {
        let said = python(user, &[], ASK).run().expect_success();
        assert!(said.contains("all"), "{said}");
    }
}

pub(crate) fn a_holder_that_is_gone_is_replaced_and_nothing_is_lost() {
    for user in USERS {
        let said = python(user, &["replace=yes"], ASK).run().expect_success();
        assert!(said.contains("all"), "{said}");
    }
}

pub(crate) fn there_is_no_interface_but_lo() {
    let script = "import socket; print(socket.if_nameindex())";
    for user in USERS {
        let said = python(user, &[], script).run().expect_success();
        assert!(said.contains("[(1, 'lo')]"), "{said}");
    }
}
