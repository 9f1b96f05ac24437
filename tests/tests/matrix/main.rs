//! Every case for every method.
//!
//! A case is a function of a mount in the file of its theme. The macro below makes one test of
//! it for each mount, so a test's name reads `redirect_nft::half_close_from_the_client`.

macro_rules! mounted {
    ($module:ident, $mount:ident, $($theme:ident :: $case:ident)*) => {
        mod $module {
            $(
                #[test]
                fn $case() {
                    let mount = steer_tests::Mount::$mount;
                    steer_tests::mounted(mount, stringify!($case), super::$theme::$case);
                }
            )*
        }
    };
}

macro_rules! matrix {
    ($($heading:literal $theme:ident { $($case:ident)* })*) => {
        $(mod $theme;)*

        const THEMES: &[steer_tests::Theme] = &[$(($heading, &[$(stringify!($case)),*])),*];

        mounted! { redirect_nft, RedirectNft, $($($theme::$case)*)* }
        mounted! { redirect_iptables, RedirectIptables, $($($theme::$case)*)* }
        mounted! { env, Env, $($($theme::$case)*)* }
        mounted! { explicit_connect, ExplicitConnect, $($($theme::$case)*)* }
        mounted! { explicit_socks5, ExplicitSocks5, $($($theme::$case)*)* }
    };
}

matrix! {
    "Reach" reach {
        a_server_is_reached_over_ipv4
        a_server_is_reached_over_ipv6
        the_bytes_are_those_of_an_unsteered_client
        a_server_that_speaks_first_is_heard_at_once
        a_name_is_resolved_by_the_engine
    }
}

/// The child process whose sockets stand for a program of another user, cgroup or command.
#[test]
fn agent() {
    lab::serve_agent();
}

#[test]
fn the_matrix_in_the_documentation_is_the_one_that_is_tested() {
    steer_tests::hold_table(THEMES);
}
