"""The names that fields have in events of shops, analytics tools and exports, in several languages.

A name is compared word by word: `customerEmail`, `customer_email` and `Customer E-Mail` have equal words.
"""

import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from itertools import pairwise
from typing import Final

_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_WORD: Final = re.compile(r"[^\W\d_]+|\d+")
# The letters of a synonym that may be a part of a longer word, as `betrag` in `rechnungsbetrag`, or its end.
_SHORTEST_PART: Final = 5
_SHORTEST_END: Final = 4


def word_set(text: str) -> frozenset[str]:
    """Return the words of a text, as a set."""
    return frozenset(text.split())


# For each field its names, the best first. Lower case, without accents and separators.
SYNONYMS: Final[Mapping[str, tuple[str, ...]]] = {
    field: tuple(words.split())
    for field, words in {
        "event_timestamp": """
            timestamp eventtimestamp eventtime eventdate occurredat occurred happened happenedat orderedat
            purchasedat orderdate ordertime ordertimestamp purchasedate purchasetime transactiondate
            transactiontime placedat createdat createdtime creationdate created datetime date time ts
            timestampmicros eventtimestampmicros processedat completedat paidat soldat saledate
            originaltimestamp senttime sentat receivedat bestellzeit bestellzeitpunkt bestelltam
            bestelldatum bestelltum zeitstempel zeitpunkt zeit datum kaufdatum kaufzeit buchungszeit
            buchungsdatum erstelltam verkaufszeit belegdatum datumzeit horodatage datecommande commandele
            dateachat dateheure fecha fechahora fechapedido fechacompra creadoen dataora dataordine
            dataacquisto data datahora datapedido datacompra besteldatum tijdstip aangemaaktop
            datazamowienia czas utworzono orderdatum tidpunkt skapad tidpunktkop""",
        "email": """
            email emailaddress emailaddr kundenmail kundenemail mail useremail customeremail personalemail
            emailsha256 hashedemail sha256emailaddress emailsha256lowercase em courriel mel adressemail
            correo correoelectronico correoe posta postaelettronica indirizzoemail mailadresse
            emailadresse epost epostadress adresemail emailid sha256lowercase""",
        "phone": """
            phone phonenumber mobile mobilephone mobilenumber cell cellphone cellno cellnocc cellnumber
            tel telephone telephonenumber telno msisdn gsm contactnumber phonesha256 sha256phonenumber
            hashedphone ph telefon telefonnummer telefonnr handy handynummer handynr mobil mobilnummer
            mobilnr mobiltelefon rufnummer telefono telefonomovil movil celular portable numerotelephone
            cellulare numeroditelefono telefone telemovel telefoon telefoonnummer komorka numertelefonu
            whatsapp""",
        "first_name": """
            firstname givenname forename fname first given prenom vorname rufname nombre primernombre nome
            voornaam imie fornamn sha256firstname fn""",
        "last_name": """
            lastname familyname surname lname last family nachname familienname nomdefamille nom apellido
            apellidos primerapellido cognome sobrenome apelido achternaam nazwisko efternamn
            sha256lastname ln""",
        "address": """
            street streetaddress address address1 street1 addressline1 addressline line1 streetline1
            strasse anschrift adresse rue direccion calle indirizzo via endereco rua straat adres ulica
            gatuadress gata sha256street""",
        "city": """
            city town locality place ort stadt wohnort ville commune ciudad localidad municipio citta
            comune cidade stad plaats woonplaats miasto postort""",
        "state": """
            state statecode province provincecode region regioncode administrativearea stateprovince
            bundesland kanton departement provincia estado regione provincie wojewodztwo""",
        "postal": """
            postal postalcode postcode zip zipcode zipcodeplus4 plz postleitzahl codepostal cp
            codigopostal codicepostale cap cep kodpocztowy postnummer postnr""",
        "maid": """
            maid idfa adid gaid aaid advertisingid advertisingidentifier mobileadid mobileadvertisingid
            deviceadvertisingid googleadvertisingid appleidfa rdid ifa deviceifa madid androidadid afai
            fireadid idforadvertisers werbeid""",
        "ramp_id": ("rampid", "liverampid", "idl", "identitylink"),
        "match_id": """
            matchid externalid customerid userid memberid crmid fpuid loginid loyaltyid accountid
            kundennummer kundennr kundenid clientid idclient idcliente idkunde klantnummer numeroclient
            numerocliente anonymousid visitorid userpseudoid""",
        "real_id": ("realid",),
        "merkle_id": ("merkleid", "merkuryid"),
        "kantar_id": ("kantarid",),
        "value": """
            total totalprice ordertotal grandtotal totalamount totalvalue totalrevenue pricetotal
            transactiontotal carttotal revenue transactionrevenue ordervalue cartvalue orderamount
            purchaseamount transactionamount totalpaid amountpaid amount value amounttotal amountcents
            amountminor totalcents totalminor centamount sum turnover checkouttotal conversionvalue paid
            subtotal subtotalprice gesamtbetrag gesamtsumme gesamtpreis gesamtwert bestellwert warenwert
            rechnungsbetrag auftragswert endbetrag endsumme betrag summe umsatz bruttobetrag brutto
            warenkorbwert montanttotal prixtotal montant totalttc totalgeneral importetotal preciototal
            importe valortotal monto importototale prezzototale totale importo valor totaalbedrag totaal
            orderbedrag bedrag kwota kwotacalkowita wartosc suma totalbelopp belopp ordervarde""",
        "currency": """
            currency currencycode currencyiso isocurrency currencyisocode totalcurrency ordercurrency
            presentmentcurrency waehrung wahrung waehrungscode wahrungscode devise monnaie moneda divisa
            codigomoneda valuta moeda waluta""",
        "units_sold": """
            unitssold units quantity quantityordered orderedquantity amountordered q totalquantity qty
            totalqty itemcount itemscount numitems numberofitems totalitems productcount menge gesamtmenge
            stueckzahl stuckzahl anzahl stueck stuck quantite nombrearticles cantidad quantita quantidade
            aantal ilosc antal pieces pcs count""",
        "event_id": "dedupeid dedupid deduplicationid dedupekey eventid eventuuid uniqueeventid insertid",
        "order_id": """
            orderid ordernumber orderno ordernr transactionid purchaseid purchaseordernumber
            purchasenumber receiptid receiptnumber receiptno invoiceid invoicenumber bookingid
            confirmationnumber checkoutid order transaction bestellnummer bestellnr bestellid
            auftragsnummer auftragsnr belegnummer belegnr bonnummer rechnungsnummer vorgangsnummer
            transaktionsid transaktionsnummer numerocommande idcommande numcommande numeropedido idpedido
            pedido numeroordine idordine numerodopedido bestelnummer ordernummer numerzamowienia""",
        "ip_address": """
            ipaddress ip clientip clientipaddress remoteip remoteaddr browserip userip useripaddress ipv4
            customerip ipadresse adresseip direccionip indirizzoip xforwardedfor""",
        "user_agent": ("useragent", "clientuseragent", "browseruseragent", "ua", "httpuseragent", "browser"),
        "limited_data_use": (
            "limiteddatause",
            "ldu",
            "donotsell",
            "donotsellorshare",
            "optoutofsale",
            "ccpaoptout",
        ),
        "amazon_ad_event_key": ("amazonadeventkey", "adeventkey"),
        "country_code": """
            countrycode countryiso isocountry iso2 countryiso2 nation countryisocode country countryid
            billingcountry shippingcountry geocountry landcode laendercode landercode landkurzel land pays
            codepays pais codigopais paese nazione codicepaese landskod kraj kodkraju landnaam region
            locale userlocale language lang sprache langue idioma""",
        "price": """
            price unitprice itemprice productprice saleprice finalprice unitamount unitcost amount
            pricecents unitpricecents priceminor unitpriceminor centamount value grossprice einzelpreis
            stueckpreis stuckpreis preis verkaufspreis vk vkpreis artikelpreis bruttopreis prixunitaire
            prix puttc tarif preciounitario precio pvp prezzounitario prezzo precounitario preco stukprijs
            prijs cenajednostkowa cena styckpris apris pris""",
        "line_total": """
            pricetotal linetotal totalprice rowtotal lineprice lineamount itemtotal totalamount
            extendedprice total subtotal linerevenue itemrevenue gesamtpreis positionssumme
            positionsbetrag zeilensumme gesamt summe totalligne prixtotal montant importetotal importe
            preciototal totaleriga importo prezzototale regeltotaal totaal wartosc kwota radsumma belopp""",
        "products": """
            products items lineitems productlistitems orderlines orderitems cartitems basket cart lines
            contents productlist articles goods positionen positions artikel produkte warenkorb
            bestellpositionen posten produits lignes panier articulos productos lineas prodotti articoli
            righe carrello produtos itens artikelen producten regels produkty pozycje varor rader""",
    }.items()
    for words in [words if isinstance(words, str) else " ".join(words)]
}

# Names that say nothing without the name above them, as `value` in `amount.value`.
GENERIC: Final = word_set(
    """
            value val id number nummer numero text code raw content amount data formatted full default
            current name address"""
)


@lru_cache(maxsize=4096)
def words_of(name: str) -> tuple[str, ...]:
    """Return the words of a name in lower case, without accents: `orderTotal2` has order, total and 2."""
    plain = unicodedata.normalize("NFKD", name.replace("ß", "ss"))
    plain = "".join(char for char in plain if not unicodedata.combining(char))
    return tuple(_WORD.findall(_CAMEL.sub(" ", plain).lower()))


@lru_cache(maxsize=16384)
def rank(field: str, names: tuple[str, ...]) -> int:
    """Return how well the last of nested names fits a field: 0 if not, 100 if it is the usual name."""
    words = words_of(names[-1]) if names else ()
    own = _rank(field, words)
    if len(names) > 1 and words and words[-1] in GENERIC and len(words) == 1:
        above = max(_rank(field, words_of(names[-2])), _rank(field, words_of(names[-2]) + words))
        return max(above - 5, own - 40, 0)
    return own


def _rank(field: str, words: tuple[str, ...]) -> int:
    synonyms = SYNONYMS[field]
    joined = "".join(words)
    if joined in synonyms:
        place = synonyms.index(joined)
        return 100 - (min(place, 60) if joined in GENERIC else 40 * place // len(synonyms))
    plain = "".join(word for word in words if not word.isdigit())
    if plain in synonyms:
        # `email1` is as good as `email`, and `email2` is the second one.
        return (60 if words[-1] in ("1", "01") else 45) - min(synonyms.index(plain) // 2, 20)
    pairs = {*words, *("".join(pair) for pair in pairwise(words))}
    found = [place for place, synonym in enumerate(synonyms) if synonym in pairs and len(synonym) > 2]
    if found:
        return 50 - min(found[0] // 2, 25)
    parts = any(len(s) >= _SHORTEST_PART and s in joined for s in synonyms)
    return 20 if parts or any(len(s) >= _SHORTEST_END and joined.endswith(s) for s in synonyms) else 0
