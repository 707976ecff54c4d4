//! One account for each admitted request: what it has yet to hear, and its one end.
//!
//! Opening and closing are the ledger's alone. An account that is closed twice is a bug, and
//! panics; one that is open when the engine dies is closed as failed. A closed account stays until
//! its end has been fetched.

use alloc::boxed::Box;
use alloc::vec::Vec;

use engine_contract::{Logprobs, TokenId};
use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

use crate::arena::{Arena, Key};
use crate::sequence::Sequence;
use crate::{End, RequestId, Update, Updates};

/// All accounts, and the sums over those that ended.
pub(crate) struct Ledger {
    accounts: Arena<Account>,
    /// The open ones. Never iterated: its order means nothing.
    by_id: HashMap<RequestId, Key<Account>, FxBuildHasher>,
    /// Accounts with something to hear, each once.
    news: Vec<(RequestId, Key<Account>)>,
    pub(crate) sums: Sums,
}

/// What one request has yet to hear.
pub(crate) struct Account {
    id: RequestId,
    sequence: Key<Sequence>,
    tokens: Vec<TokenId>,
    logprobs: Vec<Logprobs>,
    num_cached: Option<u32>,
    end: Option<End>,
    in_news: bool,
}

/// Requests and tokens counted since the start.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sums {
    pub(crate) submitted: u64,
    pub(crate) rejected: u64,
    pub(crate) finished: u64,
    pub(crate) cancelled: u64,
    pub(crate) expired: u64,
    pub(crate) failed: u64,
    pub(crate) tokens: u64,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self {
            accounts: Arena::new(),
            by_id: HashMap::with_hasher(FxBuildHasher),
            news: Vec::new(),
            sums: Sums::default(),
        }
    }

    pub(crate) fn open(&mut self, id: RequestId, sequence: Key<Sequence>) -> Key<Account> {
        let key = self.accounts.insert(Account {
            id,
            sequence,
            tokens: Vec::new(),
            logprobs: Vec::new(),
            num_cached: None,
            end: None,
            in_news: false,
        });
        let other = self.by_id.insert(id, key);
        assert!(other.is_none(), "law 3: {id:?} is submitted while it is open");
        key
    }

    /// The one end of a request.
    pub(crate) fn close(&mut self, key: Key<Account>, end: End) {
        let account = &mut self.accounts[key];
        assert!(account.end.is_none(), "law 3: {:?} ends twice", account.id);
        account.end = Some(end);
        self.by_id.remove(&account.id);
        self.sums.count(end);
        self.note(key);
    }

    pub(crate) fn close_all(&mut self, end: End) {
        for key in self.open_keys() {
            self.close(key, end);
        }
    }

    /// A request has one token more.
    pub(crate) fn deliver(
        &mut self,
        key: Key<Account>,
        token: TokenId,
        logprobs: Option<Box<Logprobs>>,
    ) {
        let account = &mut self.accounts[key];
        assert!(account.end.is_none(), "law 3: {:?} gets a token after its end", account.id);
        account.tokens.push(token);
        account.logprobs.extend(logprobs.map(|logprobs| *logprobs));
        self.sums.tokens += 1;
        self.note(key);
    }

    /// What the prefix index had for a request.
    pub(crate) fn say_cached(&mut self, key: Key<Account>, num_cached: u32) {
        self.accounts[key].num_cached = Some(num_cached);
        self.note(key);
    }

    /// Moves out all news, in the order of ids.
    pub(crate) fn fetch(&mut self, out: &mut Updates) {
        out.entries.clear();
        out.tokens.clear();
        out.logprobs.clear();
        self.news.sort_unstable_by_key(|&(id, _)| id);
        for (id, key) in self.news.drain(..) {
            let account = &mut self.accounts[key];
            let (start, first) = (out.tokens.len(), out.logprobs.len());
            out.tokens.append(&mut account.tokens);
            out.logprobs.append(&mut account.logprobs);
            let (tokens, logprobs) = (start..out.tokens.len(), first..out.logprobs.len());
            let (num_cached, end) = (account.num_cached.take(), account.end);
            account.in_news = false;
            out.entries.push(Update { id, tokens, logprobs, num_cached, end });
            if end.is_some() {
                self.accounts.remove(key);
            }
        }
    }

    /// The sequence of an open account; `None` if there is no such account.
    pub(crate) fn find(&self, id: RequestId) -> Option<Key<Sequence>> {
        self.by_id.get(&id).map(|&key| self.accounts[key].sequence)
    }

    pub(crate) fn num_open(&self) -> u32 {
        self.by_id.len() as u32
    }

    /// The sequences of all open accounts.
    pub(crate) fn open_sequences(&self) -> impl Iterator<Item = Key<Sequence>> {
        let accounts = self.accounts.iter();
        accounts.filter(|(_, account)| account.end.is_none()).map(|(_, account)| account.sequence)
    }

    fn open_keys(&self) -> Vec<Key<Account>> {
        let accounts = self.accounts.iter();
        accounts.filter(|(_, account)| account.end.is_none()).map(|(key, _)| key).collect()
    }

    fn note(&mut self, key: Key<Account>) {
        let account = &mut self.accounts[key];
        if !account.in_news {
            account.in_news = true;
            self.news.push((account.id, key));
        }
    }
}

impl Sums {
    fn count(&mut self, end: End) {
        match end {
            End::Cancelled(_) => self.cancelled += 1,
            End::DeadlinePassed(_) => self.expired += 1,
            End::EngineFailed | End::NotFinite => self.failed += 1,
            End::Finished(_) => self.finished += 1,
        }
    }
}
