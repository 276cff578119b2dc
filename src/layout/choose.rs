//! Choosing an image of `index.json`. Pure, except that the caller reads documents.
//!
//! Nothing is chosen silently. A reference means one document, or the platforms of one image that are listed side by
//! side, or it is ambiguous; then all unambiguous references are reported.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::Value;

use super::entry::{MOST_NESTED, Platforms, is_document};
use crate::oci::{Descriptor, Digest, Reference, annotation, media_type, take_field};
use crate::target::platform::Platform;

/// The choice of an image in a layout or an archive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Selector {
    /// The only image.
    #[default]
    Only,
    /// The image with this tag or full name.
    Name(String),
    /// The document with this digest, which must be reachable from an entry.
    Digest(Digest),
}

impl Selector {
    /// Splits `PATH`, `PATH:NAME` or `PATH@DIGEST`; as in skopeo's references, a path has no colon. `None` if the
    /// digest is invalid or the name is empty.
    #[must_use]
    pub fn split(text: &str) -> Option<(&str, Self)> {
        if let Some((path, digest)) = text.split_once('@') {
            return Some((path, Self::Digest(digest.parse().ok()?)));
        }
        match text.split_once(':') {
            Some((path, name)) => (!name.is_empty()).then(|| (path, Self::Name(name.to_owned()))),
            None => Some((text, Self::Only)),
        }
    }
}

/// A name or a digest, which cannot be confused; `null` if neither was given.
impl Serialize for Selector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Only => serializer.serialize_none(),
            Self::Name(name) => serializer.serialize_str(name),
            Self::Digest(digest) => digest.serialize(serializer),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Only => Ok(()),
            Self::Name(name) => write!(formatter, ":{name}"),
            Self::Digest(digest) => write!(formatter, "@{digest}"),
        }
    }
}

/// What a selector means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// One index or manifest.
    Entry(Descriptor),
    /// The manifests of an image whose index is `index.json` itself.
    Platforms(Vec<Descriptor>),
    /// Nothing has the name or digest, or there are no entries.
    Nothing,
    /// More than one image.
    Several(Vec<Descriptor>),
}

/// Reads a document; `None` if it cannot be read.
pub(crate) type Read<'a> = dyn FnMut(&Descriptor) -> Option<Value> + 'a;

/// The names of an entry: its full name, and its tag.
#[must_use]
pub(crate) fn names_of(entry: &Descriptor) -> Vec<String> {
    [annotation::CONTAINERD_NAME, annotation::REF_NAME]
        .iter()
        .filter_map(|key| entry.annotation(key).map(ToOwned::to_owned))
        .collect()
}

/// A name in full. A tag alone and an invalid name stay as they are.
fn in_full(name: &str) -> String {
    let full = name.contains(['/', ':']).then(|| name.parse::<Reference>().ok()?.name()).flatten();
    full.unwrap_or_else(|| name.to_owned())
}

/// True if an entry has this tag or full name. Names are compared in full, each completed as Docker does.
#[must_use]
pub(crate) fn is_named(entry: &Descriptor, wanted: &str) -> bool {
    let full = wanted.parse::<Reference>().ok().and_then(|reference| reference.name());
    names_of(entry).iter().any(|name| name == wanted || Some(in_full(name)) == full)
}

/// The full name, which distinguishes an entry's image from others of the same tag, if it has one.
fn whole_names(entry: &Descriptor) -> Vec<String> {
    let names = names_of(entry).into_iter();
    names.map(|name| in_full(&name)).find(|name| name.contains('/')).into_iter().collect()
}

/// Chooses an image.
pub fn choose(entries: &[Descriptor], selector: &Selector, read: &mut Read<'_>) -> Choice {
    let mut reader = Reader::new(read);
    match selector {
        Selector::Only => {
            if let [only] = distinct(entries.iter()).as_slice() {
                return Choice::Entry((*only).clone());
            }
            // Referrers of an image are not images; an entry that cannot be read may be an image.
            let images: Vec<&Descriptor> =
                entries.iter().filter(|entry| !reader.is_referrer(entry)).collect();
            among(&images, &names_of, &mut reader)
        }
        Selector::Name(wanted) => {
            let named: Vec<&Descriptor> = entries.iter().filter(|entry| is_named(entry, wanted)).collect();
            among(&named, &whole_names, &mut reader)
        }
        Selector::Digest(wanted) => {
            let mut walked = BTreeMap::new();
            entries
                .iter()
                .find_map(|entry| below(entry, wanted, 0, &mut walked, &mut reader))
                .map_or(Choice::Nothing, Choice::Entry)
        }
    }
}

/// The images of a list: single documents, or the platforms that together are one image.
pub fn images(entries: &[Descriptor], read: &mut Read<'_>) -> Vec<Choice> {
    let mut reader = Reader::new(read);
    let mut left: Vec<&Descriptor> = distinct(entries.iter());
    if left.len() > 1 {
        left.retain(|entry| !reader.is_referrer(entry));
    }
    let names = by_digest(entries.iter(), &names_of);
    // Entries with the same names, in the order of the first one.
    let mut groups: Vec<Vec<&Descriptor>> = Vec::new();
    let mut places: BTreeMap<&BTreeSet<String>, usize> = BTreeMap::new();
    let nameless = BTreeSet::new();
    for entry in left {
        let place = *places.entry(names.get(&entry.digest).unwrap_or(&nameless)).or_insert(groups.len());
        if place == groups.len() {
            groups.push(Vec::new());
        }
        groups[place].push(entry);
    }
    let mut found = Vec::new();
    for group in groups {
        match among(&group, &|_| Vec::new(), &mut reader) {
            Choice::Several(_) => {
                found.extend(group.into_iter().map(|entry| Choice::Entry(entry.clone())));
            }
            choice => found.push(choice),
        }
    }
    found
}

/// An unambiguous selector for each of some entries: its tag, otherwise its full name, otherwise its digest.
pub fn ways(entries: &[Descriptor], several: &[Descriptor], read: &mut Read<'_>) -> Vec<Selector> {
    let mut reader = Reader::new(read);
    let named = Named::new(entries);
    // The meaning of each name, looked up once however many entries have it.
    let mut meanings: BTreeMap<String, BTreeSet<Digest>> = BTreeMap::new();
    let (mut ways, mut known) = (Vec::new(), BTreeSet::new());
    for wanted in several {
        let mut own = names_of(wanted).into_iter().rev();
        let name = own.find(|name| {
            let meaning = meanings.entry(name.clone()).or_insert_with(|| {
                match among(&named.with(name), &whole_names, &mut reader) {
                    Choice::Entry(found) => BTreeSet::from([found.digest]),
                    Choice::Platforms(found) => found.into_iter().map(|entry| entry.digest).collect(),
                    Choice::Nothing | Choice::Several(_) => BTreeSet::new(),
                }
            });
            meaning.contains(&wanted.digest)
        });
        let way = name.map_or_else(|| Selector::Digest(wanted.digest.clone()), Selector::Name);
        if known.insert(way.clone()) {
            ways.push(way);
        }
    }
    ways
}

/// Entries by their names, compared as in [`is_named`].
struct Named<'a> {
    entries: &'a [Descriptor],
    /// By the names as written, and by the completed ones.
    names: BTreeMap<String, BTreeSet<usize>>,
}

impl<'a> Named<'a> {
    fn new(entries: &'a [Descriptor]) -> Self {
        let mut names: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
        for (at, entry) in entries.iter().enumerate() {
            for name in names_of(entry) {
                names.entry(format!("={}", in_full(&name))).or_default().insert(at);
                names.entry(name).or_default().insert(at);
            }
        }
        Self { entries, names }
    }

    fn with(&self, wanted: &str) -> Vec<&'a Descriptor> {
        let full = wanted.parse::<Reference>().ok().and_then(|reference| reference.name());
        let places = [Some(wanted.to_owned()), full.map(|full| format!("={full}"))];
        let places: BTreeSet<usize> =
            places.iter().flatten().filter_map(|name| self.names.get(name)).flatten().copied().collect();
        places.into_iter().map(|at| &self.entries[at]).collect()
    }
}

/// The image that some entries make together. `called` returns names that must be equal for all entries of one image.
fn among(
    candidates: &[&Descriptor],
    called: &dyn Fn(&Descriptor) -> Vec<String>,
    reader: &mut Reader<'_, '_>,
) -> Choice {
    let left = distinct(candidates.iter().copied());
    let several = |left: &[&Descriptor]| Choice::Several(left.iter().copied().cloned().collect());
    match left.as_slice() {
        [] => return Choice::Nothing,
        [only] => return Choice::Entry((*only).clone()),
        _ => {}
    }
    if left.iter().any(|entry| media_type::is_index(&entry.media_type)) {
        // An entry that is listed with the same name and is in the index belongs to it.
        let members = members(&left, reader);
        let outer: Vec<&Descriptor> =
            left.iter().copied().filter(|entry| !members.contains(&entry.digest)).collect();
        return match outer.as_slice() {
            // Indexes that contain each other, which is impossible for documents that were read by their digests.
            [] => several(&left),
            [only] => Choice::Entry((*only).clone()),
            _ => several(&outer),
        };
    }
    let named = by_digest(candidates.iter().copied(), called);
    let mut platforms = BTreeSet::new();
    for entry in &left {
        let fits = match reader.platform_of(entry) {
            Some(platform) => platforms.insert(platform),
            None => entry.annotation(annotation::DOCKER_REFERENCE_TYPE).is_some(),
        };
        if !fits || named.get(&entry.digest) != named.get(&left[0].digest) {
            return several(&left);
        }
    }
    if platforms.is_empty() { several(&left) } else { Choice::Platforms(left.into_iter().cloned().collect()) }
}

/// The names of the entries of each digest.
fn by_digest<'a>(
    entries: impl Iterator<Item = &'a Descriptor>,
    called: &dyn Fn(&Descriptor) -> Vec<String>,
) -> BTreeMap<&'a Digest, BTreeSet<String>> {
    let mut found: BTreeMap<&Digest, BTreeSet<String>> = BTreeMap::new();
    for entry in entries {
        found.entry(&entry.digest).or_default().extend(called(entry));
    }
    found
}

/// Removes duplicate entries, keeping the first. One manifest may be listed for several platforms.
fn distinct<'a>(entries: impl Iterator<Item = &'a Descriptor>) -> Vec<&'a Descriptor> {
    let mut known: BTreeMap<&Digest, BTreeSet<Option<Platform>>> = BTreeMap::new();
    entries
        .filter(|entry| {
            let platform = entry.platform.as_ref().and_then(Platform::of_fields);
            let others = known.entry(&entry.digest).or_default();
            let same = !others.is_empty()
                && (platform.is_none() || others.contains(&None) || others.contains(&platform));
            !same && others.insert(platform)
        })
        .collect()
}

/// The entry with a digest: this one, or one below it if it is an index. `walked` has the depth at which each index was
/// visited: a visit at no greater depth has seen everything below it.
fn below(
    entry: &Descriptor,
    wanted: &Digest,
    depth: usize,
    walked: &mut BTreeMap<Digest, usize>,
    reader: &mut Reader<'_, '_>,
) -> Option<Descriptor> {
    if entry.digest == *wanted {
        return Some(entry.clone());
    }
    let entries = reader.entries(entry, depth, walked);
    entries.iter().find_map(|entry| below(entry, wanted, depth + 1, walked, reader))
}

/// The digests of everything that is reachable from indexes among some entries.
fn members(entries: &[&Descriptor], reader: &mut Reader<'_, '_>) -> BTreeSet<Digest> {
    let (mut found, mut walked) = (BTreeSet::new(), BTreeMap::new());
    let mut open: Vec<(Descriptor, usize)> = entries.iter().map(|entry| ((*entry).clone(), 0)).collect();
    while let Some((entry, depth)) = open.pop() {
        for entry in reader.entries(&entry, depth, &mut walked) {
            found.insert(entry.digest.clone());
            open.push((entry, depth + 1));
        }
    }
    found
}

/// Reads documents, and remembers the result for each: any number of entries may name one document.
struct Reader<'r, 'a> {
    read: &'r mut Read<'a>,
    platforms: Platforms,
    referrers: BTreeMap<Digest, bool>,
    /// The documents that could not be read.
    failed: BTreeSet<Digest>,
}

impl<'r, 'a> Reader<'r, 'a> {
    fn new(read: &'r mut Read<'a>) -> Self {
        let (referrers, failed) = (BTreeMap::new(), BTreeSet::new());
        Self { read, platforms: Platforms::default(), referrers, failed }
    }

    /// True for an entry without a name that refers to another document.
    fn is_referrer(&mut self, entry: &Descriptor) -> bool {
        if !names_of(entry).is_empty() || !is_document(entry) {
            return false;
        }
        let Self { read, referrers, .. } = self;
        *referrers
            .entry(entry.digest.clone())
            .or_insert_with(|| read(entry).is_some_and(|document| document["subject"]["digest"].is_string()))
    }

    fn platform_of(&mut self, entry: &Descriptor) -> Option<Platform> {
        let Self { read, platforms, failed, .. } = self;
        let platform = platforms.of(entry, &mut |descriptor: &Descriptor| {
            let document = if failed.contains(&descriptor.digest) { None } else { read(descriptor) };
            document.ok_or_else(|| {
                failed.insert(descriptor.digest.clone());
            })
        });
        platform.ok()?.ok()?
    }

    /// The entries of an index that is not nested too deep and was not visited before at the same or a smaller depth.
    fn entries(
        &mut self,
        entry: &Descriptor,
        depth: usize,
        walked: &mut BTreeMap<Digest, usize>,
    ) -> Vec<Descriptor> {
        if !media_type::is_index(&entry.media_type)
            || depth == MOST_NESTED
            || walked.get(&entry.digest).is_some_and(|known| *known <= depth)
        {
            return Vec::new();
        }
        walked.insert(entry.digest.clone(), depth);
        let index = (self.read)(entry);
        let entries = index.map(|mut index| serde_json::from_value(take_field(&mut index, "manifests")));
        entries.and_then(Result::ok).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::oci::Encoded;

    fn image(text: &str, platform: &str, names: &[&str]) -> Descriptor {
        let mut entry = Descriptor::new(media_type::MANIFEST, Digest::of(text.as_bytes()), 1);
        entry.platform = Some(platform.parse::<crate::target::platform::Platform>().unwrap().fields());
        named(entry, names)
    }

    /// A tag, or a tag and a full name.
    fn named(mut entry: Descriptor, names: &[&str]) -> Descriptor {
        for (key, name) in [annotation::REF_NAME, annotation::CONTAINERD_NAME].into_iter().zip(names) {
            entry.annotations.insert(key.into(), (*name).into());
        }
        entry
    }

    fn of(entries: &[Descriptor], selector: &Selector) -> Choice {
        choose(entries, selector, &mut |_| None)
    }

    fn name(text: &str) -> Selector {
        Selector::Name(text.to_owned())
    }

    #[test]
    fn a_list_of_platforms_is_one_image() {
        let flat = [image("a", "amd64", &[]), image("b", "arm64", &[])];
        assert_eq!(of(&flat, &Selector::Only), Choice::Platforms(flat.to_vec()));
        assert_eq!(images(&flat, &mut |_| None), [Choice::Platforms(flat.to_vec())]);
        let tagged = flat.clone().map(|entry| named(entry, &["1.0"]));
        for selector in [Selector::Only, name("1.0")] {
            assert_eq!(of(&tagged, &selector), Choice::Platforms(tagged.to_vec()));
        }
        assert_eq!(of(&tagged, &name("2.0")), Choice::Nothing);
        assert_eq!(of(&flat, &Selector::Digest(flat[1].digest.clone())), Choice::Entry(flat[1].clone()));
        // Each with a name of its own: separate images.
        let own = [named(flat[0].clone(), &["amd64"]), named(flat[1].clone(), &["arm64"])];
        assert_eq!(of(&own, &Selector::Only), Choice::Several(own.to_vec()));
        assert_eq!(images(&own, &mut |_| None).len(), 2);
        // Two for one platform are not one image.
        let twice = [image("a", "amd64", &["1"]), image("b", "amd64", &["1"])];
        assert_eq!(of(&twice, &name("1")), Choice::Several(twice.to_vec()));
        let ways = ways(&twice, &twice, &mut |_| None);
        assert_eq!(ways, twice.each_ref().map(|entry| Selector::Digest(entry.digest.clone())));
        // The same one twice is one image.
        let same = [image("a", "amd64", &["1"]), image("a", "amd64", &["1"])];
        assert_eq!(of(&same, &name("1")), Choice::Entry(same[0].clone()));
        // One manifest for two platforms counts as two entries.
        let mut any = image("a", "arm64", &["1"]);
        any.digest = same[0].digest.clone();
        let both = [same[0].clone(), any];
        assert_eq!(of(&both, &Selector::Only), Choice::Platforms(both.to_vec()));
        // With an attestation of one of them.
        let mut about = Descriptor::new(media_type::MANIFEST, Digest::of(b"about"), 1);
        about.annotations.insert(annotation::DOCKER_REFERENCE_TYPE.into(), "attestation-manifest".into());
        let attested = [flat[0].clone(), flat[1].clone(), about];
        assert_eq!(of(&attested, &Selector::Only), Choice::Platforms(attested.to_vec()));
    }

    #[test]
    fn names_are_compared_whole() {
        let entries = [
            image("a", "amd64", &["latest", "docker.io/team/one:latest"]),
            image("b", "arm64", &["latest", "team/two:latest"]),
            image("c", "amd64", &["team/three:1"]),
        ];
        assert_eq!(of(&entries, &name("latest")), Choice::Several(entries[..2].to_vec()));
        for (text, at) in [
            ("docker.io/team/one", 0),
            ("team/one:latest", 0),
            ("docker.io/team/two", 1),
            ("docker.io/team/two:latest", 1),
            ("docker.io/team/three:1", 2),
        ] {
            assert_eq!(of(&entries, &name(text)), Choice::Entry(entries[at].clone()), "{text}");
        }
        for text in ["one", "team/one:1", "example.com/team/one", "three", "1"] {
            assert_eq!(of(&entries, &name(text)), Choice::Nothing, "{text}");
        }
        let ways: Vec<String> =
            ways(&entries, &entries, &mut |_| None).iter().map(ToString::to_string).collect();
        assert_eq!(ways, [":docker.io/team/one:latest", ":team/two:latest", ":team/three:1"]);
        // A tag that looks like an image name is a tag.
        let tag = [image("a", "amd64", &["1.0"])];
        assert_eq!(of(&tag, &name("docker.io/library/1.0")), Choice::Nothing);
    }

    #[test]
    fn a_document_that_is_no_object_leads_nowhere() {
        let index = |text: &str| Descriptor::new(media_type::INDEX, Digest::of(text.as_bytes()), 1);
        let both = [index("a"), index("b")];
        for document in [json!(1), json!("x"), json!([]), json!(null), json!({ "manifests": 1 })] {
            let read = &mut |_: &Descriptor| Some(document.clone());
            assert_eq!(choose(&both, &Selector::Only, read), Choice::Several(both.to_vec()), "{document}");
            assert_eq!(choose(&both, &Selector::Digest(Digest::of(b"c")), read), Choice::Nothing);
        }
    }

    /// Impossible for documents whose digests are correct.
    #[test]
    fn indexes_that_lead_to_each_other_are_several() {
        let index = |text: &str| Descriptor::new(media_type::INDEX, Digest::of(text.as_bytes()), 1);
        let both = [index("a"), index("b")];
        let mut read = |wanted: &Descriptor| {
            let other = both.iter().find(|entry| entry.digest != wanted.digest)?;
            Some(json!({ "manifests": [other] }))
        };
        assert_eq!(choose(&both, &Selector::Only, &mut read), Choice::Several(both.to_vec()));
    }

    #[test]
    fn a_member_with_its_indexs_name_is_in_it() {
        let member = image("a", "amd64", &[]);
        let document = json!({ "manifests": [member] });
        let index = Encoded::new(media_type::INDEX, &document).descriptor;
        let read = &mut |wanted: &Descriptor| (wanted.digest == index.digest).then(|| document.clone());
        let both = [named(index.clone(), &["1"]), named(member.clone(), &["1"])];
        for entries in [both.to_vec(), both.iter().rev().cloned().collect()] {
            assert_eq!(choose(&entries, &name("1"), read), Choice::Entry(both[0].clone()));
        }
        let digest = Selector::Digest(member.digest.clone());
        assert_eq!(choose(&both[..1], &digest, read), Choice::Entry(member));
        // A manifest that is not in the index is another image.
        let other = [both[0].clone(), image("b", "arm64", &["1"])];
        assert_eq!(choose(&other, &name("1"), read), Choice::Several(other.to_vec()));
    }

    #[test]
    fn what_refers_to_an_image_is_no_image() {
        let image = image("a", "amd64", &[]);
        let document = json!({ "subject": image });
        let referrer = Encoded::new(media_type::MANIFEST, &document).descriptor;
        let read = &mut |wanted: &Descriptor| (wanted.digest == referrer.digest).then(|| document.clone());
        let entries = [referrer.clone(), image.clone()];
        assert_eq!(choose(&entries, &Selector::Only, read), Choice::Entry(image.clone()));
        assert_eq!(images(&entries, read), [Choice::Entry(image)]);
        // Alone it is the chosen document.
        assert_eq!(choose(&entries[..1], &Selector::Only, read), Choice::Entry(referrer));
    }
}
