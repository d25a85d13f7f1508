//! What the assistant says: a script over the board's own facts, no model and no network. Pure.
//!
//! It stands for the slow and wordy thing that an app would ask; how its words travel is the point.

use std::collections::BTreeMap;

use crate::{
    day::Day,
    model::{Board, Person, Task},
};

/// What it knows.
pub(crate) struct Facts<'a> {
    pub(crate) today: Day,
    pub(crate) board: &'a Board,
    pub(crate) tasks: &'a [Task],
    pub(crate) people: &'a [Person],
}

/// The answer to a question, as plain text with lines.
pub(crate) fn answer(question: &str, facts: &Facts<'_>) -> String {
    let question = question.to_lowercase();
    let asks = |words: &[&str]| words.iter().any(|word| question.contains(word));
    if asks(&["due", "week", "deadline", "late", "overdue", "when"]) {
        facts.due()
    } else if asks(&["too much", "busy", "load", "who has", "overloaded"]) {
        facts.load()
    } else if asks(&["summar", "status", "overview", "how are we", "how is it"]) {
        facts.summary()
    } else if let Some(person) = facts.named(&question) {
        facts.of(person)
    } else {
        facts.help()
    }
}

/// A text in the pieces in which it is said: words with what follows them.
pub(crate) fn pieces(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive([' ', '\n'])
}

impl Facts<'_> {
    fn open(&self) -> impl Iterator<Item = &Task> {
        self.tasks.iter().filter(|task| !self.board.is_done(&task.column))
    }

    fn name<'a>(&'a self, id: Option<&'a str>) -> &'a str {
        let Some(id) = id else { return "nobody yet" };
        self.people.iter().find(|person| person.id == id).map_or(id, |person| &person.name)
    }

    fn named(&self, question: &str) -> Option<&Person> {
        let is_word = |id: &str| question.split(|c: char| !c.is_alphanumeric()).any(|w| w == id);
        self.people.iter().find(|person| is_word(&person.id))
    }

    fn line(&self, task: &Task) -> String {
        let due = task.due.as_deref().and_then(|due| Day::parse(due).ok());
        let due = due.map(|due| format!(", due {}", due.said_on(self.today))).unwrap_or_default();
        let who = self.name(task.assignee.as_deref());
        format!("- {} ({who}{due})\n", task.title)
    }

    fn due(&self) -> String {
        let end = self.today.end_of_week();
        let mut dated: Vec<_> = self
            .open()
            .filter_map(|task| Some((Day::parse(task.due.as_deref()?).ok()?, task)))
            .filter(|(due, _)| *due <= end)
            .collect();
        dated.sort_by_key(|(due, task)| (*due, task.id));
        let (late, soon): (Vec<_>, Vec<_>) =
            dated.into_iter().partition(|(due, _)| *due < self.today);
        let mut said = String::new();
        for (head, tasks) in [("Already late:", late), ("Due by Sunday:", soon)] {
            if !tasks.is_empty() {
                let lines: String = tasks.iter().map(|(_, task)| self.line(task)).collect();
                said += &format!("{head}\n{lines}\n");
            }
        }
        if said.is_empty() {
            return format!(
                "Nothing on {} is due by Sunday, and nothing is late.",
                self.board.name
            );
        }
        said + "I would begin with the first line: what is late keeps others waiting."
    }

    fn load(&self) -> String {
        let mut loads = BTreeMap::<&str, usize>::new();
        let mut unowned = 0;
        for task in self.open() {
            match task.assignee.as_deref() {
                Some(assignee) => *loads.entry(assignee).or_default() += 1,
                None => unowned += 1,
            }
        }
        let mut loads: Vec<_> = loads.into_iter().collect();
        loads.sort_by_key(|&(id, count)| (std::cmp::Reverse(count), id));
        let Some(&(most, count)) = loads.first() else {
            return "Nobody has an open task on this board.".to_owned();
        };
        let lines: String = loads
            .iter()
            .map(|(id, count)| format!("- {}: {}\n", self.name(Some(id)), open_tasks(*count)))
            .collect();
        let free: Vec<_> = self
            .people
            .iter()
            .filter(|person| !loads.iter().any(|(id, _)| *id == person.id))
            .map(|person| person.name.as_str())
            .collect();
        let most = self.name(Some(most));
        let mut said = format!("{most} has the most, with {}:\n{lines}\n", open_tasks(count));
        if !free.is_empty() {
            said += &format!("Nothing on this board is with {}. ", free.join(", "));
        }
        if unowned > 0 {
            said += &format!(
                "And {} nobody's yet.",
                if unowned == 1 { "one task is" } else { "some tasks are" }
            );
        }
        said
    }

    fn summary(&self) -> String {
        let total = self.tasks.len();
        let open = self.open().count();
        let done = total - open;
        let name = &self.board.name;
        let mut said = format!("{name} has {total} tasks, {done} of them done.\n\n");
        for column in &self.board.columns {
            let titles: Vec<_> = self
                .tasks
                .iter()
                .filter(|task| task.column == column.id)
                .map(|task| task.title.as_str())
                .collect();
            if !titles.is_empty() {
                said += &format!("{} ({}): {}.\n", column.name, titles.len(), titles.join("; "));
            }
        }
        let is_late = |task: &&Task| {
            task.due.as_deref().and_then(|due| Day::parse(due).ok()).is_some_and(|d| d < self.today)
        };
        match self.open().filter(is_late).count() {
            0 => said + "\nNothing is late.",
            1 => said + "\nOne task is late: ask me what is due.",
            late => said + &format!("\n{late} tasks are late: ask me what is due."),
        }
    }

    fn of(&self, person: &Person) -> String {
        let lines: String = self
            .open()
            .filter(|task| task.assignee.as_deref() == Some(&person.id))
            .map(|task| self.line(task))
            .collect();
        if lines.is_empty() {
            return format!("{} has no open task on {}.", person.name, self.board.name);
        }
        format!("With {} now:\n{lines}", person.name)
    }

    fn help(&self) -> String {
        format!(
            "I am a small script that reads the board {:?}, not a language model. I know these \
             questions:\n- What is due this week?\n- Summarise the board.\n- Who has too much?\n\
             - What is Ben working on?\n\nMy words come one by one, each with its place in the log: \
             reload the page while I write, or restart the server, and see.",
            self.board.name
        )
    }
}

fn open_tasks(count: usize) -> String {
    if count == 1 { "1 open task".to_owned() } else { format!("{count} open tasks") }
}
