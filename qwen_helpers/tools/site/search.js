// How pages are found and ordered, in place of Sphinx's way, which wants every word on the page: people paste whole
// errors, with paths and numbers of their own. The rarer a word is, the more it counts, and in a title or a heading three times; the
// longer a page or a title, the less, since a lesson holds nearly every word.
Search.performTermsSearch = (words) => {
  const { terms, titles, alltitles, docnames, filenames } = Search._index;
  const inPages = new Map(Object.entries(terms).map(([word, files]) => [word, new Set([files].flat())]));
  const stemmer = new Stemmer();
  const wordsOf = (pairs) => {
    const found = new Map();
    for (const [title, file] of pairs)
      for (const word of splitQuery(title.toLowerCase()).map((word) => stemmer.stemWord(word)))
        found.set(word, (found.get(word) || new Set()).add(file));
    return found;
  };
  const inTitles = wordsOf(titles.map((title, file) => [title, file]));
  const inHeadings = wordsOf( // the symptom of a trouble is one
    Object.entries(alltitles).flatMap(([title, places]) => places.filter((place) => place[1]).map((place) => [title, place[0]])),
  );
  const scores = titles.map(() => 0);
  for (const [table, weight] of [[inPages, 1], [inTitles, 3], [inHeadings, 3]]) {
    const sizes = titles.map(() => 0);
    for (const files of table.values()) for (const file of files) sizes[file]++;
    const mean = sizes.reduce((sum, size) => sum + size) / sizes.length;
    for (const word of words) {
      const files = table.get(word) || new Set();
      for (const file of files)
        scores[file] += (weight * Math.log(1 + titles.length / files.size)) / (0.75 + (0.25 * sizes[file]) / mean);
    }
  }
  return scores
    .map((score, file) => [docnames[file], titles[file], "", null, score, filenames[file], SearchResultKind.text])
    .filter((result) => result[4] > 0)
    .sort((one, other) => other[4] - one[4])
    .slice(0, 20);
};
