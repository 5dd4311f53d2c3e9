"""Breaks a good report in 105 ways, each into a file of its own.

Usage: mutations.py ENHANCED BASIC COMPREHENSIVE FOLDER. Prints a JSON object a mutation:
`name`, `file`, `base` (the class of the report that was broken) and `lawful` (why the result is no
fault by the standard, null where it is one, or where this program's reports must not be so).
"""

import copy
import json
import pathlib
import sys

import pydicom
from pydicom import Dataset, Sequence

pydicom.config.settings.writing_validation_mode = pydicom.config.IGNORE
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE

REMOVED = """SpecificCharacterSet InstanceCreationDate InstanceCreationTime InstanceCreatorUID
SOPClassUID SOPInstanceUID StudyDate SeriesDate ContentDate StudyTime SeriesTime ContentTime
AccessionNumber Modality Manufacturer InstitutionName ReferringPhysicianName TimezoneOffsetFromUTC
StationName StudyDescription ProcedureCodeSequence SeriesDescription ManufacturerModelName
ReferencedPerformedProcedureStepSequence PatientName PatientID IssuerOfPatientID PatientBirthDate
PatientSex PatientAge DeviceSerialNumber DeviceUID SoftwareVersions ContributingEquipmentSequence
StudyInstanceUID SeriesInstanceUID StudyID SeriesNumber InstanceNumber ValueType
ConceptNameCodeSequence ContinuityOfContent AuthorObserverSequence ReferencedRequestSequence
PerformedProcedureCodeSequence CurrentRequestedProcedureEvidenceSequence CompletionFlag
CompletionFlagDescription VerificationFlag PreliminaryFlag ContentTemplateSequence
ContentSequence""".split()
EMPTIED = """PatientName PatientID StudyInstanceUID SeriesInstanceUID InstanceNumber ContentDate
Modality SeriesNumber CompletionFlag VerificationFlag StudyDate Manufacturer""".split()


def code(value, scheme, meaning):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def item(relationship, value_type, name):
    made = Dataset()
    made.RelationshipType, made.ValueType = relationship, value_type
    made.ConceptNameCodeSequence = [name]
    return made


def child(ds, meaning):
    """The item below the root with a concept of that meaning."""
    return next(i for i in ds.ContentSequence if i.ConceptNameCodeSequence[0].CodeMeaning == meaning)


def findings(ds):
    return child(ds, "Findings").ContentSequence


def text(ds):
    return findings(ds)[0]


def evidence(ds):
    return ds.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence


def number(value):
    made = item("CONTAINS", "NUM", code("408739003", "SCT", "Probability of finding"))
    measured = Dataset()
    measured.NumericValue = value
    measured.MeasurementUnitsCodeSequence = [code("1", "UCUM", "no units")]
    made.MeasuredValueSequence = [measured]
    return made


def algorithm():
    """Items of TID 4019 Algorithm Identification."""
    made = []
    for value, meaning, text in (("111001", "Algorithm Name", "A"), ("111003", "Algorithm Version", "1")):
        part = item("HAS CONCEPT MOD", "TEXT", code(value, "DCM", meaning))
        part.TextValue = text
        made.append(part)
    return made


def person():
    made = Dataset()
    made.VerifyingObserverName, made.VerifyingOrganization = "A^B", "C"
    made.VerificationDateTime = "20261123"
    made.VerifyingObserverIdentificationCodeSequence = []
    return made


def set_(keyword, value):
    return lambda ds: setattr(ds, keyword, value)


def in_text(value):
    return lambda ds: setattr(text(ds), "TextValue", value)


def verified_and_partial(ds):
    ds.VerificationFlag, ds.CompletionFlag = "VERIFIED", "PARTIAL"
    ds.VerifyingObserverSequence = [person()]


def without_charset(ds):
    """What is not ASCII becomes question marks: how names get lost."""

    def narrow(_, element):
        if element.VR in ("LO", "LT", "PN", "SH", "ST", "UT") and element.VM == 1:
            element.value = str(element.value).encode("ascii", "replace").decode("ascii")

    ds.walk(narrow)
    del ds.SpecificCharacterSet


def bad_relationship(ds):
    text(ds).ContentSequence[0].RelationshipType = "CONTAINS"


def bad_uid_characters(ds):
    text(ds).ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID = "1.2.x.4"


def device_type(ds):
    return child(ds, "Acquisition Device Type").ConceptCodeSequence[0]


def no_sequence(ds):
    del child(ds, "Findings").ContentSequence


def no_observer(ds):
    ds.ContentSequence = [i for i in ds.ContentSequence if i.RelationshipType != "HAS OBS CONTEXT"]
    del ds.AuthorObserverSequence


def no_language(ds):
    ds.ContentSequence.remove(child(ds, "Language of Content Item and Descendants"))


def two_names(ds):
    target = child(ds, "Observer Type")
    target.ConceptNameCodeSequence = [*target.ConceptNameCodeSequence, code("121005", "DCM", "Observer Type")]


def unknown_code(ds):
    child(ds, "Device Observer Name").ConceptNameCodeSequence = [code("999999", "DCM", "Nothing")]


def wrong_class(ds):
    for series in evidence(ds):
        for image in series.ReferencedSOPSequence:
            image.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"


def one_missing(ds):
    wanted = text(ds).ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    kept = [s for s in evidence(ds) if s.ReferencedSOPSequence[0].ReferencedSOPInstanceUID != wanted]
    ds.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence = kept


def inferred_code(ds):
    shown = copy.deepcopy(text(ds).ContentSequence[0])
    coded = next(i for i in findings(ds) if i.ValueType == "CODE")
    coded.ContentSequence = [shown]


def algorithm_below_code(ds):
    coded = next(i for i in findings(ds) if i.ValueType == "CODE")
    coded.ContentSequence = [*coded.ContentSequence, *algorithm()]


def mutations():
    for keyword in REMOVED:
        yield f"remove {keyword}", lambda ds, keyword=keyword: delattr(ds, keyword)
    for keyword in EMPTIED:
        yield f"empty {keyword}", set_(keyword, None)
    yield "CompletionFlag=DRAFT", set_("CompletionFlag", "DRAFT")
    yield "VerificationFlag=VERIFIED w/o observer", set_("VerificationFlag", "VERIFIED")
    yield "VERIFIED + PARTIAL + observer", verified_and_partial
    yield "PreliminaryFlag=DRAFT", set_("PreliminaryFlag", "DRAFT")
    yield "Modality=OT", set_("Modality", "OT")
    yield "CS removed: text encoded anew in ASCII", without_charset
    yield "child missing RelationshipType", lambda ds: delattr(ds.ContentSequence[0], "RelationshipType")
    yield "child bad RelationshipType CONTAINS under TEXT", bad_relationship
    yield "child missing ConceptName (TEXT)", lambda ds: delattr(text(ds), "ConceptNameCodeSequence")
    yield "empty TextValue", in_text("")
    yield "missing TextValue", lambda ds: delattr(text(ds), "TextValue")
    yield "ValueType=NUMB", lambda ds: setattr(text(ds), "ValueType", "NUMB")
    yield "code without CodeMeaning", lambda ds: delattr(device_type(ds), "CodeMeaning")
    yield "code without scheme", lambda ds: delattr(device_type(ds), "CodingSchemeDesignator")
    yield "CodeValue 17 chars", lambda ds: setattr(device_type(ds), "CodeValue", "1" * 17)
    yield "CodeMeaning 65 chars", lambda ds: setattr(device_type(ds), "CodeMeaning", "x" * 65)
    yield "wrong meaning for known DCM code", lambda ds: setattr(device_type(ds), "CodeMeaning", "Ultrasound")
    yield "unknown DCM code 999999", unknown_code
    yield "2 items in ConceptName", two_names
    yield "section without ContinuityOfContent", lambda ds: delattr(child(ds, "Findings"), "ContinuityOfContent")
    yield "empty section (no ContentSequence)", no_sequence
    yield "section ContentSequence present, 0 items", lambda ds: setattr(child(ds, "Findings"), "ContentSequence", [])
    yield "no Language item (TID2000 M)", no_language
    yield "no Observer context at all", no_observer
    yield "section title not in CID7001 (private)", lambda ds: setattr(
        child(ds, "Findings"), "ConceptNameCodeSequence", [code("X1", "99PRIV", "Private")]
    )
    yield "evidence missing one instance", one_missing
    yield "evidence wrong SOP class", wrong_class
    yield "image ref bad UID chars", bad_uid_characters
    yield "UID with leading zero", set_("SOPInstanceUID", "1.2.03.4")
    yield "UID >64", set_("SeriesInstanceUID", "1." + "2" * 64)
    yield "SeriesDescription 65ch", set_("SeriesDescription", "x" * 65)
    yield "TextValue 100 kB", in_text("x" * 100_000)
    yield "TextValue with NUL", in_text("a\0b")
    yield "TextValue with ESC", in_text("a\x1b[31mb")
    yield "TextValue CRLF+tab", in_text("a\r\n\tb")
    yield "TextValue LF only", in_text("a\nb")
    yield "BASIC: CODE INFERRED FROM IMAGE", inferred_code
    yield "BASIC: NUM item", lambda ds: findings(ds).append(number("0.5"))
    yield "COMP: NUM item", lambda ds: findings(ds).append(number("0.5"))
    yield "COMP: NUM NaN", lambda ds: findings(ds).append(number("NaN"))
    yield "COMP: TID4019 under CODE", algorithm_below_code


LAWFUL = {
    "TextValue 100 kB": "UT has no limit of its own",
    "TextValue LF only": "LF may stand in UT",
}


def main():
    enhanced, basic, comprehensive, folder = map(pathlib.Path, sys.argv[1:])
    for position, (name, mutate) in enumerate(mutations()):
        base = {"BASIC": basic, "COMP:": comprehensive}.get(name[:5], enhanced)
        ds = pydicom.dcmread(base)
        file = folder / f"{position:03}.dcm"
        if name == "remove SpecificCharacterSet":
            # The bytes of the text stay as they are.
            raw = base.read_bytes()
            declared = b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 192"
            assert declared in raw
            file.write_bytes(raw.replace(declared, b""))
        else:
            mutate(ds)
            ds.save_as(file, enforce_file_format=False)
        row = {"name": name, "file": str(file), "base": base.stem, "lawful": LAWFUL.get(name)}
        print(json.dumps(row))


main()
