// Answers each line of its input with one line, both JSON. Run by the engine Rhino beside the SPICE 1.0 jar.
//   {"captions": [text, …]}  ->  {"tuples": [[[word, …], …], …]}   what SPICE's own parser proposes for each caption
//   {"words": [word, …]}     ->  {"synsets": [[number, …], …]}     the WordNet synsets that SPICE takes for each word
//   either                   ->  {"error": text}
(function () {
  var answers = java.lang.System.out;
  java.lang.System.setOut(java.lang.System.err); // what the tools print is no answer

  var threads = parseInt(java.lang.System.getProperty("fusion.threads", "1"), 10);
  var parser = new Packages.edu.anu.spice.SpiceParser(null, threads, true);
  var parserClass = java.lang.Class.forName("edu.anu.spice.SpiceParser");

  function field(owner, name) {
    var found = owner.getDeclaredField(name);
    found.setAccessible(true);
    return found;
  }

  // The tool's own pipeline, less the finder of names, of which its parser uses nothing.
  var settings = new java.util.Properties();
  settings.setProperty("annotators", "tokenize,ssplit,parse,lemma");
  settings.setProperty("depparse.extradependencies", "MAXIMAL");
  settings.setProperty("threads", String(threads));
  var annotator = field(parserClass, "annotator").get(parser);
  field(annotator.getClass(), "pipeline").set(annotator, new Packages.edu.stanford.nlp.pipeline.StanfordCoreNLP(settings));

  var generate = parserClass.getDeclaredMethod("generateTuples", [java.lang.Class.forName("java.util.List")]);
  generate.setAccessible(true);
  var dictionary = field(parserClass, "synonyms").get(parser);

  function toArray(collection, convert) {
    var found = [];
    for (var items = collection.iterator(); items.hasNext(); ) found.push(convert(items.next()));
    return found;
  }

  function tuplesOf(captions) {
    var list = new java.util.ArrayList();
    captions.forEach(function (caption) { list.add(new java.lang.String(caption)); });
    var found = generate.invoke(parser, [list]);
    return toArray(list, function (caption) {
      return toArray(found.get(caption), function (tuple) { return toArray(tuple, String); });
    });
  }

  function synsetsOf(word) {
    var entry = new java.lang.String(word).trim().toLowerCase().replace(" ", "_");
    var found = new java.util.TreeSet(dictionary.getSynSets(entry));
    found.addAll(dictionary.getStemSynSets(entry));
    return toArray(found, Number);
  }

  function answer(question) {
    try {
      if (question.captions) return { tuples: tuplesOf(question.captions) };
      return { synsets: question.words.map(synsetsOf) };
    } catch (failure) {
      return { error: String(failure) };
    }
  }

  var input = new java.io.BufferedReader(new java.io.InputStreamReader(java.lang.System["in"], "UTF-8"));
  var output = new java.io.PrintStream(answers, true, "UTF-8");
  for (var line = input.readLine(); line !== null; line = input.readLine()) {
    output.println(JSON.stringify(answer(JSON.parse(String(line)))));
  }
  java.lang.System.exit(0);
})();
