#!/bin/sh
# Say whether the checked-out commit can be released as the version in CITATION.cff, the one place that states it.
# Ends with 1 and a line for everything that is in the way.
set -u
status=0

wrong() {
    echo "release: $1" >&2
    status=1
}

field() {
    sed -n "s/^$1: *[\"']\{0,1\}\([^\"' ]*\).*/\1/p" CITATION.cff
}

git rev-parse --quiet --verify HEAD >/dev/null 2>&1 || wrong "there is no commit here to release; type it in a clone"
version=$(field version)
date=$(field date-released)
echo "$version" | grep -Eqx '(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*)){2}' ||
    wrong "CITATION.cff: version '$version' is not three numbers, as in 1.2.3"
echo "$date" | grep -Eqx '[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])' ||
    wrong "CITATION.cff: date-released '$date' is not a date, as in 2026-01-31"
newest=$(sed -n 's/^## *//p' CHANGELOG.md | head -n 1)
if ! grep -qF "## $version (" CHANGELOG.md; then
    wrong "CHANGELOG.md has no entry '## $version ($date)'; its newest is '$newest'"
elif [ "$newest" != "$version ($date)" ]; then
    wrong "CHANGELOG.md has '$newest' as its newest entry, CITATION.cff says '$version ($date)'"
fi
changed=$(git status --porcelain 2>/dev/null | cut -c4- | tr '\n' ' ')
[ -z "$changed" ] || wrong "not committed: $changed"
if git rev-parse --quiet --verify "refs/tags/v$version" >/dev/null; then
    wrong "the tag v$version exists, on commit $(git rev-parse --short "v$version^{commit}"); a release is never moved"
fi
[ "$status" -ne 0 ] || echo "release: $version is ready; publish it with: git tag -a v$version -m 'epochbench $version' && git push origin v$version"
exit "$status"
