//! Which variables a command gets, and who reads them: one text for the documentation and the
//! code.

/// A variable that a command gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its names; all have the same value, as programs differ in which of them wins.
    pub names: &'static [&'static str],
    /// What it says.
    pub value: Value,
    /// Which programs read it, and why it is set.
    pub readers: &'static str,
}

/// What a variable says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// The URL of the port, with the login that it asks for.
    Proxy,
    /// What programs reach by themselves: loopback and the excluded names.
    NoProxy,
    /// The same, always.
    Text(&'static str),
    /// The port as `address:port`. Left out where the port asks for a login, or has an IPv6
    /// address, which the readers do not understand.
    HostPort,
    /// Options of a Java virtual machine, behind those that the variable holds already. Left out
    /// where the port asks for a login: Java gives none by its properties, and prints them.
    Java,
}

macro_rules! variables {
    ($(#[doc = $doc:literal])* $table:ident: $(
        $first:literal $(, $other:literal)* = $value:expr, $shown:literal, $readers:literal;
    )*) => {
        $(#[doc = $doc])*
        ///
        /// | variable | value | read by |
        /// | --- | --- | --- |
        $(#[doc = concat!(
            "| `", $first, "`", $(", `", $other, "`",)* " | ", $shown, " | ", $readers, " |"
        )])*
        pub static $table: &[Variable] = &[$(Variable {
            names: &[$first $(, $other)*],
            value: $value,
            readers: $readers,
        }),*];
    };
}

variables! {
    /// The variables that the method `env` sets and `steer env` prints, in this order.
    ///
    /// Each was tried with the programs named. A variable that says the same as `http_proxy` is
    /// there because it would win over it, or over a file that does.
    VARIABLES:

    "http_proxy", "HTTP_PROXY" = Value::Proxy, "the port's URL",
        "curl (lower case alone), wget, git, apt, pip, requests, httpx, urllib, npm, cargo, Go, \
         Ruby, Perl's HTTP::Tiny, the AWS command, and most others";
    "https_proxy", "HTTPS_PROXY" = Value::Proxy, "the port's URL",
        "the same, for https://; gRPC";
    "ftp_proxy", "FTP_PROXY" = Value::Proxy, "the port's URL", "curl, wget, urllib";
    "all_proxy", "ALL_PROXY" = Value::Proxy, "the port's URL",
        "curl, requests and httpx, for what has no variable of its own";
    "no_proxy", "NO_PROXY" = Value::NoProxy, "loopback, and the excluded names",
        "all of these";
    "grpc_proxy" = Value::Proxy, "the port's URL",
        "gRPC (C++, Python, Node), before https_proxy";
    "no_grpc_proxy" = Value::NoProxy, "as no_proxy", "gRPC, before no_proxy";
    "NODE_USE_ENV_PROXY" = Value::Text("1"), "1",
        "Node from 22.21 and 24.5 on, which then reads the variables above; 24.0 to 24.4 for \
         fetch alone, older ones not at all";
    "GLOBAL_AGENT_HTTP_PROXY" = Value::Proxy, "the port's URL",
        "Node programs that use global-agent";
    "GLOBAL_AGENT_NO_PROXY" = Value::NoProxy, "as no_proxy", "the same";
    "npm_config_proxy", "NPM_CONFIG_PROXY" = Value::Proxy, "the port's URL",
        "npm, pnpm and yarn 1, before their files";
    "npm_config_https_proxy", "NPM_CONFIG_HTTPS_PROXY" = Value::Proxy, "the port's URL",
        "the same, for https://";
    "npm_config_noproxy", "NPM_CONFIG_NOPROXY" = Value::NoProxy, "as no_proxy", "npm and pnpm";
    "YARN_HTTP_PROXY" = Value::Proxy, "the port's URL",
        "yarn from 2 on, which reads no other variable and knows no exceptions";
    "YARN_HTTPS_PROXY" = Value::Proxy, "the port's URL", "the same, for https://";
    "CARGO_HTTP_PROXY" = Value::Proxy, "the port's URL", "cargo, before its files and git's";
    "PIP_PROXY" = Value::Text(""), "nothing",
        "pip: a proxy here would win over http_proxy, and have pip forget no_proxy and \
         REQUESTS_CA_BUNDLE";
    "PERL_LWP_ENV_PROXY" = Value::Text("1"), "1",
        "Perl's LWP, which then reads the variables above";
    "RSYNC_PROXY" = Value::HostPort, "`address:port`",
        "rsync, for rsync:// and host::module; it knows no exceptions";
    "JAVA_TOOL_OPTIONS" = Value::Java, "system properties",
        "every Java virtual machine: java.net's URLs and sockets, HttpClient, Maven, Gradle. It \
         says so on stderr. Channels (NIO, Netty) are not steered";
}
