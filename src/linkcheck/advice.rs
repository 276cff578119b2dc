//! Warnings about files that a program will look for in its image when it runs.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Run;
use super::finding::Problem;
use crate::elf::Object;

/// The files with a system's trusted certificates: those that OpenSSL, `GnuTLS` and Rust's crates look for.
const BUNDLES: [&str; 9] = [
    "etc/ssl/certs/ca-certificates.crt",
    "etc/ssl/cert.pem",
    "etc/ssl/ca-bundle.pem",
    "etc/pki/tls/certs/ca-bundle.crt",
    "etc/pki/tls/cert.pem",
    "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "etc/ca-certificates/extracted/tls-ca-bundle.pem",
    "usr/local/share/certs/ca-root-nss.crt",
    "usr/lib/ssl/cert.pem",
];
/// Functions that read the time zone's rules.
const CLOCKS: [&str; 4] = ["localtime", "localtime_r", "tzset", "mktime"];

impl Run<'_> {
    /// Reports what the checked programs will miss.
    pub(super) fn advise(&mut self) {
        let programs: Vec<(String, Arc<Object>)> = self
            .checked
            .iter()
            .filter_map(|path| Some((path.clone(), Arc::clone(self.root.file(path)?.elf()?))))
            .filter(|(_, object)| object.elf.is_program())
            .collect();
        let (certificates, zones) = (self.has_certificates(), self.has_time_zones());
        for (path, object) in programs {
            let traits = &object.traits;
            if traits.certificates && !certificates {
                self.report(&path, Problem::NoCertificates {}, None);
            }
            let asks = |symbol: &crate::elf::Undefined| CLOCKS.contains(&symbol.0.as_str());
            if !zones && (traits.time_zones || object.symbols.undefined.iter().any(asks)) {
                self.report(&path, Problem::NoTimeZones {}, None);
            }
            if let Some(has) = traits.static_glibc {
                let functions =
                    [("getaddrinfo", has.names), ("dlopen", has.dlopen), ("iconv_open", has.iconv)];
                let functions =
                    functions.iter().filter(|(_, has)| *has).map(|(name, _)| (*name).to_owned()).collect();
                self.report(&path, Problem::StaticGlibc { functions }, None);
            }
        }
    }

    fn has_certificates(&self) -> bool {
        let named: BTreeSet<&str> = ["SSL_CERT_FILE", "SSL_CERT_DIR"]
            .iter()
            .filter_map(|name| self.execution.variable(name))
            .flat_map(|value| value.split(':'))
            .filter(|path| !path.is_empty())
            .collect();
        named.into_iter().chain(BUNDLES).any(|path| self.root.lookup(path).is_some())
    }

    fn has_time_zones(&self) -> bool {
        let dir = self.root.real_path("usr/share/zoneinfo");
        dir.is_some_and(|dir| self.root.below(&dir).next().is_some())
    }
}
