//! Pushes and pulls through a proxy that causes faults: each ends with the whole image or a clear error, and leaves
//! nothing half done.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use serde_json::{Value, json};
use xbuild::Cancel;
use xbuild::Environment;
use xbuild::error::{ExitCode, Explain};
use xbuild::event::Silent;
use xbuild::internal::output::push::Push;
use xbuild::oci::name::{ImageName, Wanted};
use xbuild::oci::{Descriptor, Digest, Encoded};
use xbuild::registry::RegistrySettings;
use xbuild::registry::{Access, Client, Config, Patience, RegistryError, Repository};

use super::support::fault::{Fault, FaultProxy};
use super::support::registry::Registry;
use super::support::scratch;

/// The number of runs, half of them pushes.
const RUNS: u64 = 520;
/// The number of concurrent runs.
const THREADS: usize = 6;
/// A server behind the proxy that is silent for this long has stalled. A busy machine is silent for a while, too.
const STALL: Duration = Duration::from_millis(600);
/// The same without faults, where silence only means a busy machine.
const PATIENT: Duration = Duration::from_secs(60);
/// The shares of requests with a fault.
const RATES: [f64; 3] = [0.1, 0.3, 0.6];

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// An image of a few layers, made from a seed.
struct Image {
    blobs: BTreeMap<Digest, Vec<u8>>,
    manifest: Encoded,
}

impl Image {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mut blobs = BTreeMap::new();
        let mut add = |media_type: &str, bytes: Vec<u8>| {
            let digest = Digest::of(&bytes);
            let descriptor = Descriptor::new(media_type, digest.clone(), bytes.len() as u64);
            blobs.insert(digest, bytes);
            descriptor
        };
        let config = json!({ "architecture": "amd64", "os": "linux", "seed": seed }).to_string();
        let config = add("application/vnd.oci.image.config.v1+json", config.into_bytes());
        let mut layers = Vec::new();
        for _ in 0..random.gen_range(1..4) {
            // Larger and smaller than what is sent in one request.
            let mut bytes = vec![0; random.gen_range(1..40_000)];
            random.fill_bytes(&mut bytes);
            layers.push(add("application/vnd.oci.image.layer.v1.tar", bytes));
        }
        let document =
            json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers });
        Self { blobs, manifest: Encoded::new(MANIFEST, &document) }
    }

    fn push(&self, client: &Client, name: &ImageName, dir: &Path) -> Result<(), RegistryError> {
        for (digest, bytes) in &self.blobs {
            std::fs::write(dir.join(digest.hex()), bytes)?;
        }
        let file = |blob: &Descriptor, _: &Cancel| Ok(dir.join(blob.digest.hex()));
        let documents = [self.manifest.clone()];
        let origins = BTreeMap::new();
        let elsewhere = BTreeSet::new();
        let push = Push {
            client,
            documents: &documents,
            others: &[],
            elsewhere: &elsewhere,
            file: &file,
            origins: &origins,
            reporter: &Silent,
        };
        push.run(&name.repository, &[name.tag.clone().expect("a tag")], &Cancel::new()).map(drop)
    }
}

/// Reads everything that a name refers to, into files if a directory is given.
fn pull(repository: &Repository, tag: &str, dir: Option<&Path>) -> Result<Encoded, RegistryError> {
    let cancel = Cancel::new();
    let manifest = repository.manifest(Wanted::Tag(tag), &cancel)?;
    let document: Value = serde_json::from_slice(&manifest.bytes).expect("it was verified");
    let mut blobs: Vec<Descriptor> = serde_json::from_value(document["layers"].clone()).expect("layers");
    blobs.push(serde_json::from_value(document["config"].clone()).expect("a configuration"));
    for blob in blobs {
        match dir {
            Some(dir) => {
                repository.fetch_blob(&blob, &dir.join(blob.digest.hex()), &cancel, &mut |_| ())?;
            }
            None => drop(repository.small_blob(&blob, &cancel)?),
        }
    }
    Ok(manifest)
}

fn client(host: String, stall: Duration) -> Client {
    let plain = RegistrySettings { plain_http: Some(true), ..RegistrySettings::default() };
    let registries = std::iter::once((host, plain)).collect();
    let patience = Patience { attempts: 5, back_off: Duration::from_millis(1), ..Patience::default() };
    let config = Config { registries, patience, stall, single: 8_000, ..Config::default() };
    Client::new(config, &Environment::default())
}

/// True for an error that says what happened: a network failure, wrong content, or a refusal that follows from it.
fn is_clear(error: &RegistryError) -> bool {
    let codes = [ExitCode::Network, ExitCode::CorruptDownload, ExitCode::Refused];
    codes.contains(&error.exit_code()) && error.hint().is_some() && error.to_string().contains("127.0.0.1")
}

/// The results of all runs.
#[derive(Debug, Default)]
struct Tally {
    whole: u64,
    failed: BTreeMap<&'static str, u64>,
    faults: BTreeMap<Fault, u64>,
}

#[test]
fn whatever_is_spoilt_an_image_is_whole_or_not_there() {
    let registry = Registry::open();
    let (next, tally) = (AtomicU64::new(0), Mutex::new(Tally::default()));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let proxy = FaultProxy::start(registry.port, STALL * 2);
                let clients = [client(registry.host(), PATIENT), client(proxy.host(), STALL)];
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= RUNS {
                        return;
                    }
                    let (result, faults) = run(seed, &clients, &registry, &proxy);
                    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
                    match result {
                        Ok(()) => tally.whole += 1,
                        Err(error) => {
                            assert!(is_clear(&error), "seed {seed}: {error:?}");
                            *tally.failed.entry(error.exit_code().name()).or_default() += 1;
                        }
                    }
                    for fault in faults {
                        *tally.faults.entry(fault).or_default() += 1;
                    }
                }
            });
        }
    });
    let tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(tally.faults.len(), 11, "every fault was tried: {tally:?}");
    let failed: u64 = tally.failed.values().sum();
    assert_eq!(tally.whole + failed, RUNS);
    // Retries make up for most faults; with faults in six of ten requests, some runs must fail.
    assert!(tally.whole > RUNS * 7 / 10 && failed > 0, "{tally:?}");
}

/// One push or pull, with checks of the result.
fn run(
    seed: u64,
    [patient, client]: &[Client; 2],
    registry: &Registry,
    proxy: &FaultProxy,
) -> (Result<(), RegistryError>, Vec<Fault>) {
    let dir = scratch();
    let [made, pulled] = ["made", "pulled"].map(|name| {
        let path = dir.path().join(name);
        std::fs::create_dir(&path).expect("a directory of the test");
        path
    });
    let image = Image::new(seed);
    let name = |host: &str| -> ImageName { format!("{host}/run/{seed}:v1").parse().expect("a name") };
    let (direct, spoilt) = (name(&registry.host()), name(&proxy.host()));
    let direct_repository = patient.repository(&direct.repository, Access::Pull);
    let rate = RATES[usize::try_from(seed / 2).expect("a small number") % RATES.len()];
    let result = if seed.is_multiple_of(2) {
        proxy.seed(seed, rate);
        image.push(client, &spoilt, &made)
    } else {
        image.push(patient, &direct, &made).expect("nothing is spoilt");
        proxy.seed(seed, rate);
        let repository = client.repository(&spoilt.repository, Access::Pull);
        let result = pull(&repository, "v1", Some(&pulled));
        // A file with its final name is whole, whatever the result of the pull.
        for name in super::support::names(&pulled) {
            if name.len() == 64 {
                let bytes = std::fs::read(pulled.join(&name)).expect("a file");
                assert_eq!(Digest::of(&bytes).hex(), name, "seed {seed}");
            }
        }
        result.map(|manifest| assert_eq!(manifest, image.manifest, "seed {seed}"))
    };
    let faults = proxy.done();
    // Under the name, a reader finds the whole image or nothing; after a success, the image.
    match pull(&direct_repository, "v1", None) {
        Ok(manifest) => assert_eq!(manifest, image.manifest, "seed {seed}"),
        Err(error) => assert!(error.is_not_found() && result.is_err(), "seed {seed}: {error}"),
    }
    // The same push again, without the proxy, completes what was begun.
    if result.is_err() {
        image.push(patient, &direct, &made).expect("nothing is spoilt any more");
        assert_eq!(pull(&direct_repository, "v1", None).expect("it was pushed"), image.manifest);
    }
    (result, faults)
}
