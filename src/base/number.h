/* Numbers to and from text, the decimal separator a point whatever locale the program has chosen. */
#ifndef KD_NUMBER_H
#define KD_NUMBER_H

/* As strtod in the locale "C". */
double kd_number_parse(const char *text, char **end);

/* The fewest digits that read back as the same number. */
#define KD_NUMBER_TEXT 32
void kd_number_print(char text[KD_NUMBER_TEXT], double value);

#endif
