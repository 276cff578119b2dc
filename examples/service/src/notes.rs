//! The notes: compressed by zstd, in SQLite.

use std::path::Path;

use rusqlite::Connection;

use crate::Result;

pub struct Notes(Connection);

impl Notes {
    pub fn open(path: &Path) -> Result<Self> {
        let connection = Connection::open(path)?;
        connection
            .execute("CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY, text BLOB NOT NULL)", ())?;
        Ok(Self(connection))
    }

    /// Stores a note; its number and how many bytes it takes.
    pub fn add(&self, text: &str) -> Result<(i64, usize)> {
        let compressed = zstd::encode_all(text.as_bytes(), 0)?;
        self.0.execute("INSERT INTO notes (text) VALUES (?1)", [&compressed])?;
        Ok((self.0.last_insert_rowid(), compressed.len()))
    }

    /// Every note, the oldest first.
    pub fn all(&self) -> Result<Vec<String>> {
        let mut statement = self.0.prepare("SELECT text FROM notes ORDER BY id")?;
        let mut rows = statement.query(())?;
        let mut notes = Vec::new();
        while let Some(row) = rows.next()? {
            let compressed: Vec<u8> = row.get(0)?;
            notes.push(String::from_utf8(zstd::decode_all(compressed.as_slice())?)?);
        }
        Ok(notes)
    }
}
