#!/usr/bin/env python3
"""The bill of materials of serin, from Cargo.lock: `sbom.py cyclonedx` or `sbom.py spdx`, as JSON on standard output.

Everything that Cargo.lock names is in it, with its checksum, so that a scanner sees what the compiler saw. No time and no
random number is in it: the same lock file gives the same bytes.
"""

import hashlib
import json
import pathlib
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[2]


def packages():
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
    return sorted(lock["package"], key=lambda p: (p["name"], p["version"]))


def purl(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def references(package, by_name):
    """The packages that one depends on: Cargo.lock names a version only where there are several."""
    for dependency in package.get("dependencies", []):
        name, _, version = dependency.partition(" ")
        yield next(p for p in by_name[name] if not version or p["version"] == version.split(" ")[0])


def names(all_packages):
    by_name = {}
    for package in all_packages:
        by_name.setdefault(package["name"], []).append(package)
    return by_name


def cyclonedx(all_packages):
    by_name = names(all_packages)
    own = by_name["serin"][0]

    def component(package):
        it = {"type": "library", "bom-ref": purl(package), "name": package["name"], "version": package["version"], "purl": purl(package)}
        if "checksum" in package:
            it["hashes"] = [{"alg": "SHA-256", "content": package["checksum"]}]
        return it

    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {**component(own), "type": "application", "licenses": [{"license": {"id": "Apache-2.0"}}]}},
        "components": [component(p) for p in all_packages if p is not own],
        "dependencies": [
            {"ref": purl(p), "dependsOn": sorted(purl(d) for d in references(p, by_name))} for p in all_packages
        ],
    }


def spdx(all_packages):
    by_name = names(all_packages)
    own = by_name["serin"][0]
    digest = hashlib.sha256((ROOT / "Cargo.lock").read_bytes()).hexdigest()

    def identifier(package):
        clean = "".join(c if c.isalnum() or c in ".-" else "-" for c in f"{package['name']}-{package['version']}")
        return f"SPDXRef-{clean}"

    def entry(package):
        it = {
            "SPDXID": identifier(package),
            "name": package["name"],
            "versionInfo": package["version"],
            "downloadLocation": "NOASSERTION",
            "licenseConcluded": "NOASSERTION",
            "licenseDeclared": "Apache-2.0" if package is own else "NOASSERTION",
            "copyrightText": "NOASSERTION",
            "externalRefs": [
                {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl(package)}
            ],
        }
        if "checksum" in package:
            it["checksums"] = [{"algorithm": "SHA256", "checksumValue": package["checksum"]}]
        return it

    links = [{"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": identifier(own)}]
    for package in all_packages:
        for dependency in references(package, by_name):
            links.append(
                {"spdxElementId": identifier(package), "relationshipType": "DEPENDS_ON", "relatedSpdxElement": identifier(dependency)}
            )
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"serin-{own['version']}",
        "documentNamespace": f"https://serin.dev/sbom/{digest}",
        # Of the format's, not of the build's: the same lock file gives the same document.
        "creationInfo": {"created": "1970-01-01T00:00:00Z", "creators": ["Tool: serin-sbom"]},
        "packages": [entry(p) for p in all_packages],
        "relationships": links,
    }


def main():
    forms = {"cyclonedx": cyclonedx, "spdx": spdx}
    if len(sys.argv) != 2 or sys.argv[1] not in forms:
        sys.exit(__doc__)
    json.dump(forms[sys.argv[1]](packages()), sys.stdout, indent=1, sort_keys=True)
    print()


main()
