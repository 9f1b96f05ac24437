//! Which variables a command gets, and who reads them: one text for the documentation and the
//! code.

/// A variable by which programs find what they believe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrustVariable {
    /// Its name.
    pub name: &'static str,
    /// What it says.
    pub value: TrustValue,
    /// Which programs read it.
    pub readers: &'static str,
}

/// What a variable says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrustValue {
    /// The file of all certificates, PEM.
    Bundle,
    /// Options of a Java virtual machine that name a trust store, behind those that the variable
    /// holds already.
    Java,
}

macro_rules! variables {
    ($(#[doc = $doc:literal])* $table:ident: $(
        $name:literal = $value:expr, $readers:literal;
    )*) => {
        $(#[doc = $doc])*
        ///
        /// | variable | read by |
        /// | --- | --- |
        $(#[doc = concat!("| `", $name, "` | ", $readers, " |")])*
        pub static $table: &[TrustVariable] = &[$(TrustVariable {
            name: $name,
            value: $value,
            readers: $readers,
        }),*];
    };
}

variables! {
    /// The variables that `steer run` sets where the policy opens TLS.
    ///
    /// `SSL_CERT_DIR` stays as it is: whoever reads it reads `SSL_CERT_FILE` beside it.
    TRUST_VARIABLES:

    "SSL_CERT_FILE" = TrustValue::Bundle,
        "OpenSSL and all that is built on it (Python's ssl, Ruby, PHP, Perl), Go, rustls, uv";
    "CURL_CA_BUNDLE" = TrustValue::Bundle, "curl, and requests";
    "REQUESTS_CA_BUNDLE" = TrustValue::Bundle, "Python's requests, which brings roots of its own";
    "NODE_EXTRA_CA_CERTS" = TrustValue::Bundle, "Node, npm, yarn, Bun, Electron";
    "AWS_CA_BUNDLE" = TrustValue::Bundle, "the AWS command and SDKs";
    "GIT_SSL_CAINFO" = TrustValue::Bundle, "git, before its files";
    "PIP_CERT" = TrustValue::Bundle, "pip, before its files";
    "CARGO_HTTP_CAINFO" = TrustValue::Bundle, "cargo, before its files";
    "DENO_CERT" = TrustValue::Bundle, "Deno";
    "NIX_SSL_CERT_FILE" = TrustValue::Bundle, "Nix and what it built";
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH" = TrustValue::Bundle, "gRPC (C++, Python, Ruby)";
    "HTTPLIB2_CA_CERTS" = TrustValue::Bundle, "Python's httplib2, gcloud";
    "JAVA_TOOL_OPTIONS" = TrustValue::Java,
        "every Java virtual machine, which says so on stderr";
}
